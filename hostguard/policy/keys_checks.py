"""What a policy can't mean of its secrets, though each word is well-formed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from hostguard.policy import gateway, keys
from hostguard.policy.destinations import is_among
from hostguard.policy.document import Path
from hostguard.policy.finding import Finding
from hostguard.policy.grammar import Network
from hostguard.policy.model import (
    AgentAuth,
    Credential,
    Policy,
    SecretAgent,
    SecretFiles,
    Secrets,
    Stored,
    TokenServer,
    Upstream,
)

SECTION: Path = ("secrets",)
AGENT: Path = (*SECTION, "agent")
PROVIDERS: Path = ("gateway", "providers")
PASS = 0o001
NEEDED = {
    "approle": ("role_id", "secret_id"),
    "cert": ("certificate", "key"),
    "aws": ("role",),
    "jwt": ("role", "token"),
}
"""The keys of each method of logging in."""
ALSO = {"approle": ("wrapped_by",), "cert": ("role",), "aws": (), "jwt": ()}
NOT_A_CREDENTIAL = {
    "connection", "content-length", "content-type", "date", "expect", "host", "keep-alive", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers of one hop, of the body, or of the request itself."""


def contradictions(policy: Policy) -> Iterator[Finding]:
    """Every contradiction in what could be read of a policy; sections that could not be are None."""
    if policy.secrets:
        yield from _files(policy.secrets)
        if policy.secrets.agent:
            yield from _agent(policy, policy.secrets, policy.secrets.agent)
    for name, to in (policy.gateway.providers if policy.gateway else {}).items():
        path: Path = (*PROVIDERS, name)
        if to.credential:
            yield from _credential(policy, name, to, to.credential)
        if to.client_certificate:
            where: Path = (*path, "client_certificate")
            yield from _named(policy, where, to.client_certificate, certificate=True)


# Who writes them


def _files(secrets: Secrets) -> Iterator[Finding]:
    for name, said in secrets.files.items():
        path: Path = (*SECTION, "files", name)
        if secrets.agent and name in secrets.agent.secrets:
            yield Finding(
                path, "a name of secrets.agent.secrets too", "a name of its own", ((*AGENT, "secrets", name),)
            )
        yield from _kind(path, said)
        for key in ("new", "old", "certificate", "key"):
            file = getattr(said, key)
            if file and not file.startswith(secrets.path + "/"):
                yield Finding((*path, key), file, f"a file below {secrets.path}: elsewhere it may be on a disk")


def _kind(path: Path, said: SecretFiles | Stored) -> Iterator[Finding]:
    """A key, or a certificate with its key."""
    if (said.certificate is None) != (said.key is None):
        there, lacking = ("certificate", "key") if said.certificate else ("key", "certificate")
        yield Finding((*path, lacking), "nothing", f"that of the {there}", ((*path, there),))
    if said.certificate and (said.new or said.old):
        yield Finding(path, "a key and a certificate", "one of the two: each is a secret of its own")
    if isinstance(said, SecretFiles) and not said.certificate and not said.key and not said.new:
        yield Finding(path, "nothing to send", "new, or certificate and key")


def _agent(policy: Policy, secrets: Secrets, agent: SecretAgent) -> Iterator[Finding]:
    if secrets.owner == "root":
        yield Finding((*SECTION, "owner"), "root", "the agent's account: it writes there, and is not root")
    if not agent.secrets and agent.socket is None:
        yield Finding((*AGENT, "secrets"), "nothing", "at least one secret (or a socket)")
    least, most = keys.POLL
    if not least <= agent.poll <= most:
        yield Finding((*AGENT, "poll"), f"{agent.poll:g} s", "1s to 10m")
    if agent.overlap is not None and agent.overlap < agent.poll:
        expected = f"at least `poll` ({agent.poll:g} s): else a key ends before the next one is there"
        yield Finding((*AGENT, "overlap"), f"{agent.overlap:g} s", expected)
    yield from _login(agent.auth)
    if agent.auth.method == "aws" and agent.program.endswith("/bao"):
        yield Finding((*AGENT, "auth", "method"), "aws", "approle, cert or jwt: aws is known to Vault's agent alone")
    yield from _server(policy, secrets, agent)
    passing = int(secrets.mode, 8) & PASS
    for name, said in agent.secrets.items():
        path: Path = (*AGENT, "secrets", name)
        yield from _kind(path, said)
        if "/data/" not in said.path:
            expected = "a path of a KV store of version 2, with its `data`, such as secret/data/payments: what else "
            expected += "there is, an agent asks for when its lease ends, after 32 days"
            yield Finding((*path, "path"), said.path, expected)
        group = keys.reader(policy, said)
        if group == "root":
            yield Finding((*path, "group"), "nothing", "the group that may read it")
        elif group != secrets.group and not passing:
            expected = f"{group}, or a mode such as 0711: its group must pass through {secrets.path}"
            yield Finding((*SECTION, "group"), secrets.group, expected, (path,))
    if agent.socket and agent.socket.group == "root":
        yield Finding((*AGENT, "socket", "group"), "root", "the group of the applications that may ask")


def _login(auth: AgentAuth) -> Iterator[Finding]:
    path: Path = (*AGENT, "auth")
    needed = NEEDED[auth.method]
    for key in needed:
        if getattr(auth, key) is None:
            yield Finding((*path, key), "nothing", f"what the method {auth.method} needs")
    for key in sorted(auth.model_fields_set - {"method", "mount", *needed, *ALSO[auth.method]}):
        yield Finding((*path, key), str(getattr(auth, key)), f"no such key: it is not the method {auth.method}'s")


def _server(policy: Policy, secrets: Secrets, agent: SecretAgent) -> Iterator[Finding]:
    scheme, host, port = keys.endpoint(agent.server)
    path: Path = (*AGENT, "server")
    local, egress = keys.is_loopback(host), policy.egress
    if scheme == "https" and agent.ca is None:
        yield Finding((*AGENT, "ca"), "nothing", "the certificates by which the server is verified")
    elif scheme != "https" and not local:
        yield Finding(path, agent.server, "https: plain HTTP goes to loopback alone")
    if local or egress is None:
        return  # nothing holds it up
    for service in egress.services.values():
        users = service.users
        let_in = service.protocol == "tcp" and port in service.ports and (users is None or secrets.owner in users)
        if let_in and (is_among(host, service.hosts) or any(_within(host, network) for network in service.cidrs)):
            return
    expected = f"an entry of egress.services with it and port {port}, for {secrets.owner}"
    yield Finding(path, agent.server, expected, (("egress", "services"),))


def _within(host: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:  # a name
        return False


# Who sends them


def _named(policy: Policy, where: Path, name: str, *, certificate: bool) -> Iterator[Finding]:
    """A secret that exists, and is of the kind that is asked for."""
    found = keys.places(policy.secrets).get(name)
    if found is None:
        yield Finding(where, name, "a name of secrets.agent.secrets, or of secrets.files", (SECTION,))
    elif certificate and found.certificate is None:
        yield Finding(where, f"{name}, a key", "a secret with `certificate` and `key`", (SECTION,))
    elif not certificate and found.new is None:
        yield Finding(where, f"{name}, a certificate", "a secret with a key (`new`)", (SECTION,))
    stored = policy.secrets.agent.secrets.get(name) if policy.secrets and policy.secrets.agent else None
    proxy = policy.egress.proxy_user if policy.egress else None
    if stored and stored.group not in (None, proxy):
        path: Path = (*AGENT, "secrets", name, "group")
        yield Finding(path, str(stored.group), "no such key: what the gateway adds is for nobody else", (where,))


def _credential(policy: Policy, name: str, to: Upstream, said: Credential) -> Iterator[Finding]:
    path: Path = (*PROVIDERS, name, "credential")
    yield from _named(policy, (*path, "secret"), said.secret, certificate=False)
    if said.sign != "none":
        expected = (
            "none: no filter of Envoy signs by it. The application signs, with a key that it reads through "
            "secrets.agent.socket, or from a secret with its own `group`"
        )
        yield Finding((*path, "sign"), said.sign, expected)
    low = said.header.lower()
    if low in NOT_A_CREDENTIAL or low.startswith(("x-envoy-", "x-hostguard-")):
        yield Finding((*path, "header"), said.header, "a header for a key, such as Authorization or X-Api-Key")
    if said.oauth2:
        yield from _token(policy, name, said, said.oauth2)
    elif gateway.falls_back(policy, said) and not to.payload.stream:
        # What is streamed can't be sent twice: with `stream` the policy has to do without, and is warned.
        least = 3 if to.fallback else 2
        if gateway.tries_of(to) < least:
            further = ", and a further region is asked after that" if to.fallback else ""
            expected = f"{least} or more: what the new key is refused for is sent again with the old one{further}"
            yield Finding((*PROVIDERS, name, "retry", "tries"), str(gateway.tries_of(to)), expected, (path,))
    if low == (to.retry.idempotency_header or "").lower():
        where: Path = (*PROVIDERS, name, "retry", "idempotency_header")
        yield Finding((*path, "header"), said.header, "another header than that of retry.idempotency_header", (where,))


def _token(policy: Policy, name: str, said: Credential, server: TokenServer) -> Iterator[Finding]:
    path: Path = (*PROVIDERS, name, "credential")
    scheme, host, port = keys.endpoint(server.url)
    provider = policy.egress.providers.get(name) if policy.egress else None
    if scheme != "https":
        yield Finding((*path, "oauth2", "url"), server.url, "https")
    elif provider and (port not in provider.ports or not is_among(host, provider.hosts)):
        of: Path = ("egress", "providers", name)
        yield Finding((*path, "oauth2", "url"), server.url, "one of the provider's `hosts` and `ports`", (of,))
    for key in ("header", "prefix"):
        if key in said.model_fields_set:
            expected = "no such key: a token is sent as RFC 6750 says, Authorization: Bearer"
            yield Finding((*path, key), str(getattr(said, key)), expected)


def cautions(policy: Policy) -> Iterator[Finding]:
    """What may well be meant, and still deserves a word."""
    for name, to in (policy.gateway.providers if policy.gateway else {}).items():
        if to.credential and to.payload.stream and gateway.falls_back(policy, to.credential):
            expected = "an overlap at the provider: what is streamed is not sent again with the old key"
            yield Finding((*PROVIDERS, name, "payload", "stream"), "true", expected)
