"""What a policy's program needs on its host before an apply, and where it is to come from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail

from hostguard.ansible.actions.task import POLICY_FILE_SPEC, HostguardAction
from hostguard.policy import keys
from hostguard.policy.gateway import derive

PROGRAM_SPEC: dict[str, Any] = {
    **POLICY_FILE_SPEC,
    "package": {"type": "str", "default": ""},
    "binary": {"type": "path"},
    "sha256": {"type": "str", "default": ""},
}
SECRET_AGENT_SPEC: dict[str, Any] = {**PROGRAM_SPEC, "ca": {"type": "path"}}


class Needing(HostguardAction):
    """What a policy's program needs on its host before an apply, and where it is to come from. Nothing goes to the
    host."""

    def source(self, arguments: Mapping[str, Any], pin: str | None, key: str) -> dict[str, str]:
        """The program's file on the controller, and what its hash must be; `pin` is what the policy's `key` says."""
        given = {name: str(arguments[name] or "") for name in ("package", "binary", "sha256")}
        if errors := list(misgiven(given, pin, self.written, key)):
            raise AnsibleActionFail("\n".join(errors))
        binary, sha256 = given["binary"], pin or given["sha256"]
        if binary:
            file = self.found(binary, "binary")
            with file.open("rb") as stream:
                have = hashlib.file_digest(stream, "sha256").hexdigest()
            if have != sha256:
                raise AnsibleActionFail(f"{self.written('binary')}: {file} has the SHA-256 {have}, expected {sha256}")
            binary = str(file)
        return {"binary": binary, "sha256": sha256}


class Gateway(Needing):
    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(PROGRAM_SPEC)
        wanted = derive(self.loaded(arguments).policy)
        needed = wanted is not None and wanted.manage
        found = {**result, "changed": False, "needed": needed}
        if wanted is None or not needed:
            return found
        groups = sorted({upstream.group for upstream in wanted.upstreams if upstream.group})
        return {**found, **self.source(arguments, wanted.sha256, "gateway.sha256"), "program": wanted.program,
                "account": wanted.account, "groups": groups}  # fmt: skip


class SecretAgent(Needing):
    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(SECRET_AGENT_SPEC)
        policy = self.loaded(arguments).policy
        agent = keys.derive(policy)
        found = {**result, "changed": False, "needed": agent is not None}
        if agent is None:
            return found
        ca = arguments["ca"]
        if ca and agent.ca is None:
            expected = "expected none: the policy has no secrets.agent.ca, which is its place"
            raise AnsibleActionFail(f"{self.written('ca')}: found {ca}, {expected}")
        accounts, groups = keys.holders(policy)
        return {**found, **self.source(arguments, agent.sha256, "secrets.agent.sha256"), "program": agent.program,
                "accounts": accounts, "groups": groups,
                "ca": agent.ca or "", "ca_file": str(self.found(ca, "ca")) if ca else ""}  # fmt: skip


def misgiven(given: Mapping[str, str], pin: str | None, written: Callable[[str], str], key: str) -> Iterator[str]:
    """What can't be meant of a package, a binary and its SHA-256, beside the pin that the policy has as `key`; each
    called as the user knows it."""
    package, binary, sha256 = (written(name) for name in ("package", "binary", "sha256"))
    if given["package"] and given["binary"]:
        yield f"{binary}: found a file beside {package}, expected one of the two"
    if given["sha256"] and pin:
        yield f"{sha256}: found one, expected none: the policy has {key}, which counts"
    elif given["sha256"] and not SHA256.fullmatch(given["sha256"]):
        yield f"{sha256}: found {given['sha256']!r}, expected 64 hexadecimal digits in lower case"
    elif given["binary"] and not (given["sha256"] or pin):
        yield f"{sha256}: found nothing, expected the SHA-256 of {given['binary']} (or {key} in the policy)"


SHA256 = re.compile("[0-9a-f]{64}")
