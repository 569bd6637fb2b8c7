"""Credentials in memory only: a tmpfs of their own, and nothing of it on a disk.

agent: what fetches them from a server. fresh: whether it still does, and whether a rotation ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hostguard.control import (
    Area,
    Context,
    Control,
    JudgingControl,
    Verdict,
    WantingControl,
    article,
    cis_controls,
    manual,
    nist,
    pci,
    soc2,
)
from hostguard.controls.secrets import agent as fetching
from hostguard.controls.secrets import fresh
from hostguard.controls.text import render
from hostguard.host.kinds import file, mount, unit
from hostguard.host.resource import Resource
from hostguard.policy import Secrets, keys
from hostguard.status import Severity

OPTIONS = ("nosuid", "nodev", "noexec")
WORLD = 0o007
SECRET_NAME = re.compile(r"(?i)(api_?key|access_?key|private_?key|token|secret|passw(or)?d|credential)")
# Names that look like a secret and hold the place of one.
HARMLESS_NAME = re.compile(r"(?i)(_file|_path|_dir|_directory)$")
SHOWN = 5


def tmpfs(context: Context) -> Sequence[Resource]:
    wanted = _secrets(context)
    agent = keys.derive(context.policy)
    fetched = fetching.fetched(agent) if agent else []
    files = [path for place in keys.places(wanted).values() for path in place.files]
    return [
        mount.resource(
            "secrets.mount",
            wanted.path,
            wanted.size,
            wanted.mode,
            f"${{uid:{wanted.owner}}}",
            f"${{gid:{wanted.group}}}",
            OPTIONS,
            holds=sorted({*fetched, *files}),
            fetches=fetched,
        )
    ]


def boot(context: Context) -> Sequence[Resource]:
    wanted = _secrets(context)
    name = mount_unit(wanted.path)
    content = render(
        "secrets.mount.j2",
        path=wanted.path,
        options=",".join(OPTIONS),
        size=wanted.size,
        mode=wanted.mode,
        uid=f"${{uid:{wanted.owner}}}",
        gid=f"${{gid:{wanted.group}}}",
    )
    return [
        file.resource("secrets.boot", f"/etc/systemd/system/{name}", content),
        unit.resource("secrets.boot", name, {}, ours=True, enabled=True),
    ]


def mount_unit(path: str) -> str:
    """The name that systemd demands of a mount unit (systemd-escape --path): slashes become dashes, and what is
    not a letter, a digit, `:`, `_` or `.` becomes \\xNN."""
    escaped = "/".join(
        "".join(c if c.isalnum() or c in ":_." else f"\\x{ord(c):02x}" for c in word)
        for word in path.strip("/").split("/")
    )
    return escaped.replace("/", "-") + ".mount"


def agent(context: Context) -> Sequence[Resource]:
    wanted = keys.derive(context.policy)
    return fetching.resources(wanted, mount_unit(wanted.folder)) if wanted else []


def ask_swap(_context: Context) -> Mapping[str, Any]:
    return {"swap": {"collect": "swap"}, "uname": {"collect": "uname"}, "mounts": _mountinfo()}


def _mountinfo() -> Mapping[str, Any]:
    return {"collect": "text", "path": "/proc/self/mountinfo"}


def judge_swap(context: Context, said: Mapping[str, Any]) -> Verdict:
    """`noswap` on the mount settles it; else there must be no swap, or an encrypted one, and it is said which."""
    path = _secrets(context).path
    expected = f"{path} can't reach a disk: noswap, or no swap, or swap encrypted"
    here = [line for line in said["mounts"].split("\n") if line.split(" ")[4:5] == [path]]
    if here and "noswap" in here[-1].rpartition(" - ")[2].split()[-1].split(","):
        return Verdict("pass", expected, "mounted with noswap")
    kinds = said["swap"]["kinds"]
    names = [line.split()[0] for line in said["swap"]["swaps"].splitlines()[1:]]
    plain = [name for name in names if kinds.get(name) not in ("encrypted", "memory")]
    if plain:
        return Verdict("fail", expected, "not mounted with noswap, and there is plain swap on " + ", ".join(plain))
    swapping = len(said["swap"]["swaps"].splitlines()) > 1
    return Verdict("pass", expected, "all swap is encrypted or in memory" if swapping else "no swap is on")


def ask_tree(context: Context) -> Mapping[str, Any]:
    return {"tree": {"collect": "tree", "path": _secrets(context).path}}


def judge_tree(context: Context, said: Mapping[str, Any]) -> Verdict:
    path = _secrets(context).path
    expected = f"nothing below {path} that any account may read"
    if not said["tree"]:
        return Verdict("fail", expected, f"there is no folder {path}")
    outside = [f"{entry['path']} → {entry['leads_out']}" for entry in said["tree"] if entry["leads_out"]]
    if outside:
        return Verdict("fail", expected, "kept elsewhere, behind a link: " + ", ".join(outside[:SHOWN]))
    # The root's own mode is the mount's (secrets.mount): others may pass through it, if the policy says so.
    below = (entry for entry in said["tree"] if entry["path"] != path)
    open_to_all = [entry for entry in below if entry["mode"] & WORLD and not entry["link"]]
    if open_to_all:
        shown = ", ".join(f"{entry['path']} ({entry['mode']:04o})" for entry in open_to_all[:SHOWN])
        return Verdict("fail", expected, f"{len(open_to_all)} open to all: {shown}")
    if listed := [entry["path"] for entry in said["tree"] if entry["more"]]:
        shown = ", ".join(listed[:SHOWN])
        return Verdict("fail", expected, f"an access list lets others in: {shown}: `setfacl -b` takes it away")
    return Verdict("pass", expected, f"{len(said['tree']) - 1} files and folders, none open to all")


def ask_environment(_context: Context) -> Mapping[str, Any]:
    return {"environment": {"collect": "unit-environment"}}


def judge_environment(_context: Context, said: Mapping[str, Any]) -> Verdict:
    expected = "no secret in the environment of a service"
    found = [
        f"{unit}: {name}"
        for unit, names in sorted(said["environment"].items())
        for name in names
        if SECRET_NAME.search(name.partition(" ")[0]) and not HARMLESS_NAME.search(name.partition(" ")[0])
    ]
    if found:
        return Verdict("fail", expected, "looks like a secret: " + ", ".join(found[:SHOWN]))
    return Verdict("pass", expected, "no variable of a unit looks like one")


def _secrets(context: Context) -> Secrets:
    if context.policy.secrets is None:
        raise ValueError("the policy has no section `secrets`: its controls must not be asked")
    return context.policy.secrets


SECURED = soc2("CC6.1", "credentials are such assets")
AT_REST = nist("SC-28", "by leaving nothing of it at rest on a disk")
INJECTION = article("Step 2: Automated Secret Injection and Rotation")

CONTROLS: tuple[Control, ...] = (
    WantingControl(
        id="secrets.mount",
        title="Secrets live on a tmpfs of their own",
        severity=Severity.HIGH,
        rationale="What is written to a tmpfs is on no disk, as long as it is not swapped out (secrets.swap), and is "
        "gone with the power. Its own mount gives it "
        "a size, an owner and a mode, and no set-user-ID, device or program can hide in it.",
        remediation="Run `hostguard apply`. If the path holds files already, move them away first: a mount hides "
        "them, and they stay on the disk.",
        references=(
            INJECTION,
            SECURED,
            nist("IA-5", "of tokens, keys and passwords for services"),
            AT_REST,
            manual("tmpfs(5)"),
        ),
        wants=tmpfs,
    ),
    WantingControl(
        id="secrets.boot",
        title="The tmpfs is there after a reboot",
        severity=Severity.HIGH,
        rationale="A daemon that starts before the mount writes its secrets to the disk beneath it.",
        remediation="Run `hostguard apply`.",
        references=(INJECTION, AT_REST, manual("systemd.mount(5)")),
        wants=boot,
    ),
    WantingControl(
        id="secrets.agent",
        title="An agent fetches the secrets, and a boot starts it",
        severity=Severity.HIGH,
        rationale="A key that is copied by hand is on somebody's disk, and is not rotated. The agent logs in, keeps "
        "its token in its memory, and renames each new value into place; where the server is down the last one stays.",
        remediation="Run `hostguard apply`; `journalctl -u hostguard-agent` says why it can't log in.",
        references=(
            INJECTION,
            nist("IA-5", "of tokens, keys and passwords for services"),
            SECURED,
            manual("systemd.service(5)"),
        ),
        wants=agent,
    ),
    JudgingControl(
        id="secrets.agent-fresh",
        title="Every secret was fetched lately",
        severity=Severity.HIGH,
        rationale="A server that is down, a token that was revoked, a path that is denied: the last key stays and all "
        "goes on, until the provider takes it no more. The agent's process runs all the while.",
        remediation="`journalctl -u hostguard-agent` says what the server answers; `vault.internal:8200/v1/sys/health` "
        "whether it is up. Once it answers, the agent logs in by itself.",
        references=(INJECTION, nist("IA-5", "keys are renewed as the server renews them")),
        asks=fresh.ask_fresh,
        judges=fresh.judge_fresh,
        evidence="times of the agent's notes, one a secret, below the secrets path",
    ),
    JudgingControl(
        id="secrets.rotation",
        title="A rotation ends within its overlap",
        severity=Severity.LOW,
        rationale="While there are two keys, a request that is refused with the new one goes again with the old one. "
        "After the provider has ended the old one that is a second refusal for each, and a key that leaked long ago is "
        "still on the host.",
        remediation="Remove the field of the old key at the server (`previous`): the agent then has one key in both "
        "places. Where `secrets.agent.overlap` is too short, mend that.",
        references=(INJECTION, nist("IA-5", "old keys are ended")),
        asks=fresh.ask_rotation,
        judges=fresh.judge_rotation,
        evidence="times of the key's files, and the agent's notes",
    ),
    JudgingControl(
        id="secrets.swap",
        title="Secrets can't be swapped out to a disk",
        severity=Severity.HIGH,
        rationale="Pages of a tmpfs are swapped like any other. The mount option noswap forbids it since Linux 6.4; "
        "before that, swap must be off or encrypted.",
        remediation="Turn swap off (`swapoff -a` and /etc/fstab), encrypt it with a random key (crypttab(5)), or run "
        "Linux 6.4, unmount it and apply again: a mounted tmpfs can't be given noswap.",
        references=(INJECTION, nist("SC-28", "what is swapped out is at rest, on a disk"), manual("tmpfs(5)")),
        asks=ask_swap,
        judges=judge_swap,
        evidence="/proc/self/mountinfo, /proc/swaps",
    ),
    JudgingControl(
        id="secrets.permissions",
        title="No secret is open to every account",
        severity=Severity.HIGH,
        rationale="A credential that any account may read belongs to whoever breaks into the weakest of them.",
        remediation="`chmod o-rwx` the files named, and mend the mode in what writes them (a Vault Agent sink's "
        "`mode`, say).",
        references=(
            article("Step 2: Automated Secret Injection and Rotation", "its file of the token is one of these"),
            pci("7.2.5", "who can read an account's credential can use the account"),
            SECURED,
            cis_controls("3.3", "of the credentials; whether the group is the right one is yours to say"),
            nist("AC-6", "not every account needs them"),
            nist("IA-5", "of tokens, keys and passwords for services"),
        ),
        asks=ask_tree,
        judges=judge_tree,
        evidence="mode of everything below the secrets path",
    ),
    JudgingControl(
        id="secrets.environment",
        title="No secret stands in a unit's environment",
        severity=Severity.MEDIUM,
        rationale="Any account may ask systemd for a unit's environment, and for its own, which every service gets; "
        "every child process inherits it, a running one keeps it, and an EnvironmentFile= is on a disk.",
        remediation="Have the service read the secret from the tmpfs, or use LoadCredential= (systemd.exec(5)).",
        references=(
            article("Environment Prerequisites"),
            pci("8.6.2", "a unit file is a configuration file; the secret is found by the variable's name"),
            SECURED,
            nist("IA-5(7)", "a unit file is static storage; the secret is found by the variable's name"),
            manual("systemd.exec(5)"),
        ),
        asks=ask_environment,
        judges=judge_environment,
        evidence="systemctl show --property=Environment,EnvironmentFiles '*.service', systemd's own Environment, "
        "/proc/PID/environ of services (names only)",
    ),
)

AREA = Area(
    name="secrets",
    controls=CONTROLS,
    least={
        "owner": "vault-agent",
        "group": "envoy",
        "agent": {
            "server": "http://127.0.0.1:8200",
            "auth": {"role_id": "/etc/hostguard/role-id", "secret_id": "/etc/hostguard/secret-id"},
            "secrets": {"payments": {"path": "secret/data/payments", "group": "envoy"}},
        },
    },
    without="leave `secrets` out: the next apply gives back all of it",
    role="secret_mount",
    does="A tmpfs for credentials that never reaches a disk, and an agent that keeps them fresh there",
    reads=("egress",),
)
