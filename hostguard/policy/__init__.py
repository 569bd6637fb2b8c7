"""The policy file: what it may say (model), how it is read (document, load), what contradicts itself (checks),
and the numbers that follow from its capacity (sizing)."""

from hostguard.policy.model import Egress, Inbound, Platform, Policy, Provider, Secrets, Slice, Waiver

__all__ = ["Egress", "Inbound", "Platform", "Policy", "Provider", "Secrets", "Slice", "Waiver"]
