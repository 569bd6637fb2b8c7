"""hostguard rehearse: the policy in throw-away namespaces, and what gets out of them."""

from __future__ import annotations

from hostguard.cli.policy import PolicyOption


def command(policy: PolicyOption = None) -> None:
    """Apply the policy inside throw-away namespaces on the real kernel and try the ways out. Needs no root."""
    raise NotImplementedError
