"""No gateway runs: its applications reach no provider."""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.diagnose.gateway import asks_of_state, concerns, gateway
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.policy.gateway import UNIT


def judges(asked: Asked, said: Said) -> Iterator[Finding]:
    g = gateway(asked)
    if g is None or said["state"]["running"]:
        return
    ours = f"`systemctl status {UNIT}` says whether it was stopped, `journalctl --unit={UNIT}` what it ended with"
    yield Finding(
        subject="the gateway",
        seen="no Envoy answers at the admin's socket",
        where=g.admin,
        means="applications get ECONNREFUSED at once, and reach no provider: there is no way past the gateway",
        mend=ours if g.manage else "start the Envoy that serves this admin, or name its socket in `gateway.admin`",
        key=("gateway",) if g.manage else ("gateway", "admin"),
        concerns=concerns(*g.upstreams),
    )


RULE = Rule(
    id="gateway-down",
    title="The gateway does not run",
    symptoms=("Connection refused at the gateway's own address", "ECONNREFUSED", "HostguardGatewayGone"),
    article="",
    by_hand=f"""\
systemctl status {UNIT}
curl --unix-socket /run/hostguard-gateway/admin/admin.sock http://admin/ready""",
    means="All providers are reached through one process. Its unit starts it again at once whatever ended it, so that "
    "one which is gone was stopped, or can't start: a port that is taken, a file that it can't read.",
    mend="`systemctl start hostguard-gateway`, then `hostguard audit`: `gateway.instance` names what differs.",
    looks_at="whether somebody answers at the admin's socket",
    asks=asks_of_state,
    judges=judges,
)
