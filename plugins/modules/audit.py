#!/usr/bin/python
"""hostguard.hostguard.audit: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: audit
short_description: Check a host against a hostguard policy
description:
  - Reads and changes nothing. Fails where a control fails, or where something could not be seen.
options:
  areas:
    description: Sections of the policy to check; left out, all of them.
    type: list
    elements: str
    choices: [platform, egress, gateway, kernel, limits, slices, secrets]
extends_documentation_fragment: [hostguard.hostguard.policy, hostguard.hostguard.limits]
author: hostguard (!UNKNOWN)
"""
RETURN = """
results:
  description: The controls, as in C(hostguard audit --format json).
  type: list
  returned: always
summary:
  description: How many of each status.
  type: dict
  returned: always
"""
EXAMPLES = """
- name: The platform is what the policy asks for
  become: true
  hostguard.hostguard.audit:
    policy: {platform: {kernel_min: "5.10"}}
    areas: [platform]
"""
