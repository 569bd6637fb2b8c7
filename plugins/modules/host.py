#!/usr/bin/python
"""hostguard.hostguard.host: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: host
short_description: Ask hostguard's host program one question
description:
  - >-
    What M(hostguard.hostguard.apply) and M(hostguard.hostguard.audit) do on a host. By itself it serves for
    what needs no policy, such as C({do: history}), C({do: confirm}) and C({do: rollback, to: 0}).
  - Needs root, Python 3.8 and nothing else on the host.
options:
  request:
    description: The question.
    type: dict
    required: true
extends_documentation_fragment: [hostguard.hostguard.limits]
author: hostguard (!UNKNOWN)
"""
RETURN = """
answer:
  description: The answer.
  type: dict
  returned: always
"""
EXAMPLES = """
- name: Go back to before hostguard
  become: true
  hostguard.hostguard.host:
    request: {do: rollback, to: 0}
"""
