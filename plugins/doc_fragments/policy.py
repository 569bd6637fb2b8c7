"""What every module is given that reads a policy on the controller."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = """
options:
  policy:
    description:
      - The policy, or what refines O(policy_file). Dicts are merged deep, lists are replaced.
      - Its keys are those of the policy file; C(version) may be left out.
    type: dict
    default: {}
  policy_file:
    description: A policy file on the controller.
    type: path
"""
