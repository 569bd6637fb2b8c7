#!/usr/bin/python
"""hostguard.hostguard.policy: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: policy
short_description: Check a hostguard policy, and return the one file that a host is to read
description:
  - Reads on the controller alone, asks the host nothing, and changes nothing. Fails with every error of the policy at
    once, each with its line.
extends_documentation_fragment: [hostguard.hostguard.policy]
author: hostguard (!UNKNOWN)
"""
RETURN = """
text:
  description: The file, to the letter where nothing refines it.
  type: str
  returned: success
"""
EXAMPLES = """
- name: The policy of this host
  hostguard.hostguard.policy:
    policy_file: hostguard.yml
    policy: "{{ hostguard_policy }}"
  register: found

- name: The host has it
  ansible.builtin.copy:
    content: "{{ found.text }}"
    dest: /etc/hostguard/policy.yml
    mode: "0644"
"""
