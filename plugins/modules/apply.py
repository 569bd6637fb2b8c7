#!/usr/bin/python
"""hostguard.hostguard.apply: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: apply
short_description: Make a host what a hostguard policy wants, in one transaction
description:
  - Compiles the policy on the controller, and sends it to the host in one round trip. The host looks, refuses what
    can't be done, records what it will replace, writes, and looks again; it undoes everything unless all of it is
    seen as wanted.
  - The host itself goes back unless a second round trip, over a new connection, confirms in time. A host that went
    back is reported as failed, with O(ignore:outcome=rolled back).
  - Changes nothing in check mode, and says what it would change; with C(--diff) every difference.
options:
  areas:
    description:
      - Sections of the policy that this task speaks for. What other sections wanted before stays as it is.
      - Left out, the policy is the whole truth, and what an earlier one wanted elsewhere is given back.
    type: list
    elements: str
    choices: [platform, egress, gateway, kernel, limits, slices, secrets]
  run_tags:
    description:
      - Where O(areas) is left out, the areas among these tags, unless C(hostguard) is among them too. A role hands down
        C(ansible_run_tags), so that C(--tags kernel) of one transaction for all is one of the kernel alone.
    type: list
    elements: str
    default: []
  confirm_within:
    description:
      - How long the host waits for the second connection, such as C(60s); V(0) for hosts that are built.
      - With C(ansible_connection=local) there is none. Then this task waits for somebody else, who must run
        C(hostguard confirm) over a connection of his own.
    type: str
    default: 60s
  restart:
    description: Restart the services that would run on with old values.
    type: bool
    default: false
extends_documentation_fragment: [hostguard.hostguard.policy, hostguard.hostguard.limits]
author: hostguard (!UNKNOWN)
"""
RETURN = """
outcome:
  description: applied, unchanged, would change (check mode), blocked, refused, failed, rolled back, lost, or no answer.
  type: str
  returned: always
changes:
  description: Every difference, as [resource, field, before, after, what is in the way, the restart that is owed].
  type: list
  returned: always
generation:
  description: The number of the generation on this host.
  type: int
  returned: when something was written
missing:
  description: What the policy names and the host has not, a service that is not installed, say. The audit fails for it.
  type: list
  returned: always
owed:
  description: Units that run with old values until they are restarted.
  type: list
  returned: always
"""
EXAMPLES = """
- name: The whole policy, in one transaction
  become: true
  hostguard.hostguard.apply:
    policy_file: hostguard.yml
    policy: "{{ hostguard_policy }}"

- name: Kernel parameters alone
  become: true
  hostguard.hostguard.apply:
    policy: {capacity: {peak_rps: 2000, p99: 800ms}, kernel: {}}
    areas: [kernel]
"""
