#!/usr/bin/python
"""hostguard.hostguard.secret_agent: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: secret_agent
short_description: Say what a policy's secret agent needs on its host before an apply, and where the program comes from
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
      - Not where the policy has C(secrets.agent.sha256), which then counts.
    type: str
    default: ""
  ca:
    description: The certificates by which the server is verified, a file on the controller for C(secrets.agent.ca).
    type: path
extends_documentation_fragment: [hostguard.hostguard.policy]
author: hostguard (!UNKNOWN)
"""
RETURN = """
needed:
  description: Whether the policy has an agent. Where it is false nothing else is returned.
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
accounts:
  description: The account that it runs as, and the gateway's where that reads secrets.
  type: list
  elements: str
  returned: where it is needed
groups:
  description: The other groups that read secrets.
  type: list
  elements: str
  returned: where it is needed
ca:
  description: The path of the certificates on the host, empty where the policy names none.
  type: str
  returned: where it is needed
ca_file:
  description: The absolute path of their file on the controller, empty where none was given.
  type: str
  returned: where it is needed
"""
EXAMPLES = """
- name: What the agent needs
  hostguard.hostguard.secret_agent:
    policy_file: hostguard.yml
    binary: bao
    sha256: "{{ bao_sha256 }}"
  register: found

- name: Its program
  ansible.builtin.copy:
    src: "{{ found.binary }}"
    dest: "{{ found.program }}"
    mode: "0755"
"""
