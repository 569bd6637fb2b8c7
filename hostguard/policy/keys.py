"""The secrets of a policy: where each lies, who may read it, and how the agent comes by it (pure)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from hostguard.policy import model
from hostguard.policy.model import Policy, Secrets

UNIT = "hostguard-agent.service"
FOLDER = "/etc/hostguard/agent"
RUN = "/run/hostguard-agent"
SOCKET = RUN + "/socket/agent.sock"
POLL = (1, 600)
"""Seconds."""
PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Place:
    """The files of a secret, as absolute paths: a key (`new`, maybe `old`), or a certificate with its key, which may
    be one file for both. `folders` are watched for renames."""

    name: str
    new: str | None = None
    old: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for path in (self.new, self.old, self.certificate, self.key) if path))

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path.rpartition("/")[0] for path in self.files))


@dataclass(frozen=True)
class StoredSecret:
    """A secret that the agent fetches: `fields` of `path`, each to its file."""

    place: Place
    path: str
    new: str | None
    old: str | None
    certificate: str | None
    key: str | None
    group: str
    """Who may read it."""


@dataclass(frozen=True)
class Agent:
    """Times in seconds."""

    program: str
    sha256: str | None
    account: str
    server: str
    ca: str | None
    auth: model.AgentAuth
    mount: str
    poll: float
    overlap: float | None
    secrets: tuple[StoredSecret, ...]
    socket_group: str | None
    folder: str
    """Where the secrets are: the tmpfs."""


def places(secrets: Secrets | None) -> dict[str, Place]:
    """Every secret of a policy by its name, whoever writes it."""
    if secrets is None:
        return {}
    found = {name: Place(name, said.new, said.old, said.certificate, said.key) for name, said in secrets.files.items()}
    for name, said in (secrets.agent.secrets if secrets.agent else {}).items():
        folder = f"{secrets.path}/{name}"
        if said.certificate is not None:
            # One file for both: two would be renamed one after the other, and not fit each other in between.
            found[name] = Place(name, certificate=f"{folder}/pem", key=f"{folder}/pem")
        else:
            found[name] = Place(name, new=f"{folder}/new", old=f"{folder}/old")
    return found


def derive(policy: Policy) -> Agent | None:
    """The agent with every value; None where the policy has none.

    Raises ValueError for a policy with contradictions (keys_checks.py).
    """
    secrets = policy.secrets
    if secrets is None or secrets.agent is None:
        return None
    said, where = secrets.agent, places(secrets)
    return Agent(
        program=said.program,
        sha256=said.sha256,
        account=secrets.owner,
        server=said.server,
        ca=said.ca,
        auth=said.auth,
        mount=said.auth.mount or f"auth/{said.auth.method}",
        poll=said.poll,
        overlap=said.overlap,
        secrets=tuple(_stored(policy, where[name], each) for name, each in sorted(said.secrets.items())),
        socket_group=said.socket.group if said.socket else None,
        folder=secrets.path,
    )


def _stored(policy: Policy, place: Place, said: model.Stored) -> StoredSecret:
    is_key = said.certificate is None
    return StoredSecret(
        place=place,
        path=said.path,
        new=(said.new or "key") if is_key else None,
        old=(said.old or "previous") if is_key else None,
        certificate=said.certificate,
        key=said.key,
        group=reader(policy, said),
    )


def reader(policy: Policy, said: model.Stored) -> str:
    """The group that may read a secret of the agent's: the gateway's has the name of its account."""
    proxy = policy.egress.proxy_user if policy.egress else None
    return said.group or proxy or "root"


def holders(policy: Policy) -> tuple[list[str], list[str]]:
    """Accounts and groups that must be on the host before the agent is: its own, and those who read. The gateway's
    group is its account's."""
    agent = derive(policy)
    if policy.secrets is None or agent is None:
        return [], []
    proxy = policy.egress.proxy_user if policy.egress else None
    read = {policy.secrets.group, *(secret.group for secret in agent.secrets), agent.socket_group} - {"root", None}
    accounts = {agent.account, proxy} & {agent.account, *read}
    return sorted(filter(None, accounts)), sorted(filter(None, read - accounts))


def endpoint(url: str) -> tuple[str, str, int]:
    """Scheme, name or address, and port of a URL that the grammar let through."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme]


def is_loopback(host: str) -> bool:
    """Whether it is an address of this host; a name never is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
