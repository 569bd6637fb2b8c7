#!/usr/bin/python
"""hostguard.hostguard.gateway: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: gateway
short_description: Say what a policy's gateway needs on its host before an apply, and where the program comes from
description:
  - Reads on the controller alone, asks the host nothing, and changes nothing. Downloads nothing.
  - Fails where the policy can't be used, where the options contradict each other or the policy, and where the file has
    another hash.
options:
  package:
    description: The package that brings the program, from a repository that the host knows.
    type: str
    default: ""
  binary:
    description: The program itself, a file on the controller. Given, or else O(package), or neither.
    type: path
  sha256:
    description:
      - What the program's file must be; needed with O(binary).
      - Not where the policy has C(gateway.sha256), which then counts.
    type: str
    default: ""
extends_documentation_fragment: [hostguard.hostguard.policy]
author: hostguard (!UNKNOWN)
"""
RETURN = """
needed:
  description: Whether the policy has a gateway that hostguard runs. Where it is false nothing else is returned.
  type: bool
  returned: success
program:
  description: The path of the program on the host.
  type: str
  returned: where it is needed
binary:
  description: The absolute path of the file on the controller, empty where none was given.
  type: str
  returned: where it is needed
sha256:
  description: What the program's file must be, empty where nobody says.
  type: str
  returned: where it is needed
account:
  description: The account that it runs as.
  type: str
  returned: where it is needed
groups:
  description: The groups of the providers' sockets.
  type: list
  elements: str
  returned: where it is needed
"""
EXAMPLES = """
- name: What the gateway needs
  hostguard.hostguard.gateway:
    policy_file: hostguard.yml
    binary: envoy
    sha256: "{{ envoy_sha256 }}"
  register: found

- name: Its program
  ansible.builtin.copy:
    src: "{{ found.binary }}"
    dest: "{{ found.program }}"
    mode: "0755"
"""
