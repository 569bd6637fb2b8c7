"""What a run tells while it runs: one JSON line an event on standard output, for `hostguard -i` to read."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase


class Events(CallbackBase):  # type: ignore[misc]  # ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "hostguard.hostguard.events"

    def tell(self, event: str, **more: Any) -> None:
        print(json.dumps({"event": event, **more}), flush=True)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        manager = play.get_variable_manager()
        hosts = manager._inventory.list_hosts(play.hosts) if manager and manager._inventory else []
        self.tell("hosts", hosts=[str(host) for host in hosts])

    def v2_runner_on_start(self, host: Any, task: Any) -> None:  # noqa: ARG002 - ansible's signature
        self.tell("started", host=host.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        self.result("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002 - Ansible's
        self.result("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.result("unreachable", result)

    def result(self, status: str, result: Any) -> None:
        said = {key: value for key, value in result._result.items() if key not in ("diff", "invocation")}
        self.tell(
            "result", host=result._host.get_name(), status=status, result=json.loads(json.dumps(said, default=str))
        )
