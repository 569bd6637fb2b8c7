#!/usr/bin/python
"""hostguard.hostguard.secret_agent_login: documentation; what runs is the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = """
module: secret_agent_login
short_description: Give a host what its secret agent logs in with by AppRole
description:
  - Writes the files that the policy names as C(secrets.agent.auth.role_id) and C(secret_id), owned by the agent's
    account, with the mode 0400. Nothing where the policy has no agent, or one that logs in by another method.
  - A value goes over the connection's standard input. It is in no result, no command line, no diff, and no other file
    of the controller's or the host's.
  - What wraps a secret_id (C(secrets.agent.auth.wrapped_by)) is good once. It is written where the agent needs it, as
    it does not run as the policy has it, or does not fetch; where it does, nothing is written.
options:
  role_id:
    description: The role_id. Left out, its file must be there.
    type: str
    default: ""
  secret_id:
    description: The secret_id, or the token that wraps it. Given, or else O(secret_id_command); or its file is there.
    type: str
    default: ""
  secret_id_command:
    description:
      - A program of the controller's, with its arguments, that prints it. It runs where the host needs one, and not in
        check mode.
    type: list
    elements: str
    default: []
  anew:
    description: Whether the agent is about to be started anew for another reason than an apply.
    type: bool
    default: false
extends_documentation_fragment: [hostguard.hostguard.policy, hostguard.hostguard.limits]
author: hostguard (!UNKNOWN)
"""
RETURN = "# No more than what every module returns."
EXAMPLES = """
- name: What the agent logs in with
  hostguard.hostguard.secret_agent_login:
    policy_file: hostguard.yml
    role_id: "{{ web1_role_id }}"
    secret_id_command: [bao, write, -field=secret_id, -f, auth/approle/role/web1/secret-id]
  no_log: true
"""
