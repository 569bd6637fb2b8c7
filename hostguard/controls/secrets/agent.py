"""The agent that fetches secrets from OpenBao or Vault and keeps them fresh: its configuration, its unit, its folders.

Its token stays in its memory: it has no sink. What it could not fetch keeps the last value, so that a server that is
down takes no key away. Beside the secrets it writes a note for each, which holds none: its time is that of the last
fetch, and it tells whether there are two keys.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.controls import mark
from hostguard.controls.text import render
from hostguard.host.kinds import file, unit
from hostguard.host.resource import Resource
from hostguard.policy.keys import FOLDER, RUN, SOCKET, UNIT, Agent, StoredSecret

CONTROL = "secrets.agent"
CONFIGURATION = f"{FOLDER}/agent.json"
FOLDERS = f"{FOLDER}/folders.conf"
"""For the unit alone: among tmpfiles.d(5) they would be made before the tmpfs is mounted, on the disk beneath."""
MARK = f"{FOLDER}/mark"
NOTES = ".agent"
ONE_KEY, TWO_KEYS = "1", "2"
RETRIES = 2
"""Of a request that fails. The agent waits in between, and while it does other secrets wait too."""
FIRST = 20
"""Seconds that a boot waits for the first secrets; the services that need them start after that all the same."""


def note(agent: Agent, secret: StoredSecret) -> str:
    """The path of a secret's note: its own folder is watched by the gateway."""
    return f"{agent.folder}/{NOTES}/{secret.place.name}"


def fetched(agent: Agent) -> list[str]:
    """All that it writes into the tmpfs."""
    return [path for secret in agent.secrets for path in (*secret.place.files, note(agent, secret))]


# What it reads


def configuration(agent: Agent) -> dict[str, Any]:
    """The agent's file, for OpenBao and Vault alike."""
    found: dict[str, Any] = {
        "log_level": "warn",  # else a line for each secret at each poll
        "vault": {
            "address": agent.server,
            **({"ca_cert": agent.ca} if agent.ca else {}),
            "retry": {"num_retries": RETRIES},
        },
        # OpenBao takes several methods, and one that is no list for none (2.7.2).
        "auto_auth": {"method": [_method(agent)]},
        "template_config": {"static_secret_render_interval": f"{agent.poll:g}s", "exit_on_retry_failure": False},
        "template": [each for secret in agent.secrets for each in _templates(agent, secret)],
    }
    if agent.socket_group:
        found["api_proxy"] = {"use_auto_auth_token": True}
        found["listener"] = [
            {
                "type": "unix",
                "address": SOCKET,
                # All three, or none of them counts.
                "socket_mode": "0660",
                "socket_user": f"${{uid:{agent.account}}}",
                "socket_group": f"${{gid:{agent.socket_group}}}",
                "tls_disable": True,
                # A page in a browser, or a request that was tricked out of a program, can't send one.
                "require_request_header": True,
            }
        ]
    return found


def _method(agent: Agent) -> dict[str, Any]:
    return {"type": agent.auth.method, "mount_path": agent.mount, "config": METHODS[agent.auth.method](agent)}


def _approle(agent: Agent) -> Mapping[str, Any]:
    wrapped = {"secret_id_response_wrapping_path": agent.auth.wrapped_by} if agent.auth.wrapped_by else {}
    return {
        "role_id_file_path": agent.auth.role_id,
        "secret_id_file_path": agent.auth.secret_id,
        # What wraps is good once: a file that is still there would be unwrapped again at the next login, and fail.
        "remove_secret_id_file_after_reading": bool(wrapped),
        **wrapped,
    }


def _cert(agent: Agent) -> Mapping[str, Any]:
    auth = agent.auth
    own = {"client_cert": auth.certificate, "client_key": auth.key, "reload": True}
    return {**own, **({"name": auth.role} if auth.role else {}), **({"ca_cert": agent.ca} if agent.ca else {})}


def _aws(agent: Agent) -> Mapping[str, Any]:
    return {"type": "iam", "role": agent.auth.role}


def _jwt(agent: Agent) -> Mapping[str, Any]:
    return {"path": agent.auth.token, "role": agent.auth.role, "remove_jwt_after_reading": False}


METHODS = {"approle": _approle, "cert": _cert, "aws": _aws, "jwt": _jwt}


def _templates(agent: Agent, secret: StoredSecret) -> Iterator[dict[str, Any]]:
    place = secret.place
    if secret.certificate and secret.key and place.certificate:
        yield _template(secret, place.certificate, _pem(secret.certificate, secret.key, place.certificate))
    elif secret.new and secret.old and place.new and place.old:
        yield _template(secret, place.new, _first_of((secret.new,), place.new))
        yield _template(secret, place.old, _first_of((secret.old, secret.new), place.old))
    token = _with('secret "auth/token/lookup-self"', _keys(secret) + " {{ .Data.ttl }}")
    yield _template(secret, note(agent, secret), token)


def _template(secret: StoredSecret, path: str, contents: str) -> dict[str, Any]:
    of = _with(f'secret "{secret.path}"', _with("$fields := .Data.data", contents))
    return {"contents": of, "destination": path, "perms": "0440"}


def _first_of(fields: tuple[str, ...], path: str) -> str:
    """The first field that is not empty; else what the file holds already, and no file where there is none."""
    if not fields:
        return _do(f'file "{path}"')
    first, *others = fields
    return _with(f'index $fields "{first}"', _do("."), _first_of(tuple(others), path))


def _pem(certificate: str, key: str, path: str) -> str:
    """Both below each other: of two files one would be renamed first, and not fit the other in between."""
    parts = [f'index $fields "{field}"' for field in (certificate, key)]
    text = "".join(_do(part) + "\n" for part in parts)
    return _do(f"if and ({parts[0]}) ({parts[1]})") + text + _do("else") + _do(f'file "{path}"') + _do("end")


def _keys(secret: StoredSecret) -> str:
    if not secret.old:
        return ONE_KEY
    old, new = f'(index $fields "{secret.old}")', f'(index $fields "{secret.new}")'
    # As text: `ne` ends the runner, and so all templates after it, for two values of different types.
    return _do(f"if and {old} (ne (print {old}) (print {new}))") + TWO_KEYS + _do("else") + ONE_KEY + _do("end")


def _with(what: str, then: str, otherwise: str = "") -> str:
    return _do(f"with {what}") + then + (_do("else") + otherwise if otherwise else "") + _do("end")


def _do(action: str) -> str:
    return "{{ " + action + " }}"


# What it is on a host


def resources(agent: Agent, mount: str) -> list[Resource]:
    """The unit and its files; `mount` is the unit of the tmpfs."""
    text = json.dumps(configuration(agent), indent=1) + "\n"
    files = {
        CONFIGURATION: text,
        FOLDERS: _folders(agent),
        f"/etc/systemd/system/{UNIT}": _service(agent, mount),
    }
    return [
        mark.resource(CONTROL, MARK, files),
        *(file.resource(CONTROL, path, content) for path, content in files.items()),
        unit.resource(CONTROL, UNIT, {}, ours=True, enabled=True, active=True, mark=mark.of(files.values())),
    ]


def _service(agent: Agent, mount: str) -> str:
    files = [path for secret in agent.secrets for path in secret.place.files]
    seen = " && ".join(f"[ -e {shlex.quote(path)} ]" for path in files)
    spent = agent.auth.secret_id if agent.auth.wrapped_by else None
    return render(
        "agent.service.j2",
        account=agent.account,
        mark=MARK,
        mount=mount,
        names="hostguard-names.service",
        program=agent.program,
        sha256=agent.sha256,
        configuration=CONFIGURATION,
        folders=FOLDERS,
        seen=seen,
        seconds=FIRST,
        folder=agent.folder,
        spends=spent.rpartition("/")[0] if spent else "",
        run=RUN,
        run_name=RUN.rpartition("/")[2],
        of_cloud=agent.auth.method == "aws",
    )


def _folders(agent: Agent) -> str:
    return render(
        "agent-tmpfiles.j2",
        notes=f"{agent.folder}/{NOTES}",
        uid=f"${{uid:{agent.account}}}",
        folders=[(folder, secret.group) for secret in agent.secrets for folder in secret.place.folders],
        files=[(path, secret.group) for secret in agent.secrets for path in secret.place.files],
        socket=SOCKET.rpartition("/")[0],
        socket_group=agent.socket_group,
    )
