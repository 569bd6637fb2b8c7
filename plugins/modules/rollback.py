#!/usr/bin/python
"""hostguard.hostguard.rollback: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: rollback
short_description: Take a host back to an earlier generation, in one transaction
description:
  - Undoes what later applies did, at one stroke. The host looks again, and undoes the rollback unless all of it is seen
    to be as it was.
  - The host itself undoes the rollback, too, unless a second round trip, over a new connection, confirms in time. Such
    a host is reported as failed, with O(ignore:outcome=rolled back).
  - Changes nothing in check mode, and says what would go back.
options:
  to:
    description: The generation to go back to; V(0) is before hostguard. Left out, by one.
    type: int
  confirm_within:
    description: How long the host waits for the second connection, such as C(60s); V(0) for not at all.
    type: str
    default: 60s
  restart:
    description: Restart the services that would run on with hostguard's limits.
    type: bool
    default: false
extends_documentation_fragment: [hostguard.hostguard.limits]
author: hostguard (!UNKNOWN)
"""
RETURN = """
outcome:
  description: gone back, unchanged, would change (check mode), refused, failed, rolled back, lost, or no answer.
  type: str
  returned: always
to:
  description: The generation that the host is at then; 0 is before hostguard.
  type: int
  returned: when the host answered
undone:
  description: The generations that were undone, newest first.
  type: list
  returned: always
changes:
  description: Every difference, as [resource, field, before, after, what is in the way, the restart that is owed].
  type: list
  returned: always
owed:
  description: Units that run with hostguard's limits until they are restarted.
  type: list
  returned: always
"""
EXAMPLES = """
- name: Back by one
  hostguard.hostguard.rollback:

- name: Back to before hostguard
  hostguard.hostguard.rollback:
    to: 0
"""
