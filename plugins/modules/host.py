#!/usr/bin/python
"""hostguard.hostguard.host: the host program, asked one question."""

from __future__ import annotations

DOCUMENTATION = """
module: host
short_description: Ask hostguard's host program one question
description:
  - What M(hostguard.hostguard.apply) and M(hostguard.hostguard.audit) run on a host. By itself it serves for
    what needs no policy, such as C({"do": "history"}), C({"do": "confirm"}) and
    C({"do": "rollback", "to": 0, "restart": false}).
  - Needs root, Python 3.8 and nothing else on the host.
options:
  request:
    description: The question, as JSON text.
    type: str
    required: true
author: hostguard
"""
RETURN = """
answer:
  description: The answer, as JSON text.
  type: str
  returned: always
"""
EXAMPLES = """
- name: Go back to before hostguard
  become: true
  hostguard.hostguard.host:
    request: '{"do": "rollback", "to": 0, "restart": false}'
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostguard.hostguard.plugins.module_utils.hostguard_host import program_main


def main():
    # no_log keeps the question out of the host's syslog: an allowlist may have a hundred thousand entries. Said of the
    # option: what AnsibleModule itself is told of it gives way to the task's.
    spec = {"request": {"type": "str", "required": True, "no_log": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    request = json.loads(module.params["request"])
    if module.check_mode and program_main.changes(request):
        module.exit_json(skipped=True, changed=False, msg="check mode: nothing was asked")
    answer = program_main.answer_or_error(request)
    module.exit_json(changed=answer.get("outcome") == "rolled back", answer=json.dumps(answer))


if __name__ == "__main__":
    main()
