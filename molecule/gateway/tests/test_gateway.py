"""A provider behind the gateway, asked for with the hosts' own tools: none of hostguard's code is used here."""

from __future__ import annotations

import os
import re

import pytest
import testinfra
from testinfra.host import Host

GATEWAYS = [os.environ["HOSTGUARD_HOST"], os.environ["HOSTGUARD_HOST"] + "-13"]
WORLD = os.environ["HOSTGUARD_HOST"] + "-world"
testinfra_hosts = GATEWAYS

UNIT, PORT, SOCKET = "hostguard-gateway.service", 84, "/run/hostguard-gateway/payments/http.sock"
NO_GOOD = {"expired": (85, "9.9.9.2", 10), "renamed": (86, "9.9.9.3", 62), "forged": (87, "9.9.9.4", 21)}
"""By provider: its port, its address, and the error of openssl-verification-options(1)."""
ANSWERED, REFUSED, LATE = "200 0", "000 7", "000 28"
"""The status, and the exit code of curl: 7, there was no connection; 28, not in time."""

RELOAD = f"""
cd /tmp; rm -f enough statuses
main() {{ systemctl show --value --property=MainPID {UNIT}; }}
old=$(main)
ask() {{ runuser -u shop -- curl -so /dev/null -w '%{{http_code}}\n' "$@"; }}
until [ -e enough ]; do
  ask 'http://127.0.0.84:{PORT}/[1-20]'
  ask --unix-socket {SOCKET} 'http://payments/[1-20]'
done > statuses &
systemctl reload {UNIT}; code=$?
touch enough; wait
echo $code $(test "$(main)" != "$old"; echo $?) $(pgrep -xc envoy) $(sort -u statuses)
"""


def reached(provider: str) -> list[str]:
    """Paths that were asked of a provider so far."""
    return testinfra.get_host(WORLD).check_output(f"cat /var/log/{provider}").splitlines()


def asked(host: Host, account: str, *arguments: str) -> str:
    """What curl got as this account."""
    said = ["-so", "/dev/null", "--max-time", "10", "-w", "'%{http_code}'", *arguments]
    return host.check_output(f'runuser -u {account} -- curl {" ".join(said)}; echo " $?"')


def at_the_port(host: Host, account: str, port: int = PORT, path: str = "") -> str:
    return asked(host, account, f"http://127.0.0.84:{port}/{path}")


def at_the_socket(host: Host, account: str, path: str = "") -> str:
    return asked(host, account, "--unix-socket", SOCKET, f"http://payments/{path}")


def test_an_application_gets_its_provider_by_port_and_by_socket(host: Host) -> None:
    name = host.check_output("hostname")
    paths = [f"{name}/port", f"{name}/socket"]
    assert at_the_port(host, "shop", path=paths[0]) == ANSWERED
    assert at_the_socket(host, "shop", paths[1]) == ANSWERED
    assert {f"/{path}" for path in paths} <= set(reached("payments"))


@pytest.mark.parametrize("account", ["mail", "nobody", "gateway", "root"])
def test_nobody_else_gets_it_by_the_port(host: Host, account: str) -> None:
    assert at_the_port(host, account, path="stolen") == REFUSED


@pytest.mark.parametrize("account", ["mail", "nobody"])
def test_nobody_else_gets_it_by_the_socket(host: Host, account: str) -> None:
    assert at_the_socket(host, account, "stolen") == REFUSED


def test_root_opens_every_socket(host: Host) -> None:
    """By CAP_DAC_OVERRIDE, and no folder's mode keeps it out: the port's rules are what does."""
    assert at_the_socket(host, "root") == ANSWERED


def test_nothing_gets_past_the_gateway(host: Host) -> None:
    way = ("--cacert", "/etc/ssl/certs/world.pem", "--resolve", "api.provider.com:443:9.9.9.1")
    for account in ("shop", "root"):
        assert asked(host, account, *way, "--connect-timeout", "1", "https://api.provider.com/past") == LATE
    itself = host.check_output("hostname") + "/itself"
    assert asked(host, "gateway", *way, f"https://api.provider.com/{itself}") == ANSWERED
    assert f"/{itself}" in reached("payments")
    assert {"/past", "/stolen"} & set(reached("payments")) == set()


@pytest.mark.parametrize("provider", NO_GOOD)
def test_a_provider_with_a_certificate_that_is_no_good_gets_nothing(host: Host, provider: str) -> None:
    port, address, why = NO_GOOD[provider]
    said = verified(host, address, f"{provider}.example")
    assert f"Verify return code: {why} " in said
    assert at_the_port(host, "mail", port) == "503 0"
    assert reached(provider) == []


def test_the_provider_is_tls_with_the_name_that_was_asked_for(host: Host) -> None:
    said = verified(host, "9.9.9.1", "api.provider.com")
    assert "Verify return code: 0 (ok)" in said
    assert re.search(r"^subject=CN ?= ?api\.provider\.com$", said, re.MULTILINE)
    assert "TLSv1.3" in said


def verified(host: Host, address: str, name: str) -> str:
    """What openssl says of it, as the one account that gets out."""
    given = f"-connect {address}:443 -servername {name} -verify_hostname {name} -CAfile /etc/ssl/certs/world.pem"
    return str(host.run(f"runuser -u gateway -- openssl s_client {given} < /dev/null").stdout)


def test_who_listens_where(host: Host) -> None:
    uid = host.check_output("id -u gateway")
    lines = host.check_output("ss -Hltnpe").splitlines()
    ours = [line for line in lines if f"uid:{uid} " in line or '"envoy"' in line]
    assert {line.split()[3] for line in ours} == {f"127.0.0.84:{port}" for port in (84, 85, 86, 87)}
    assert all(f"uid:{uid} " in line and '"envoy"' in line for line in ours)
    sockets = host.check_output("ss -Hlxp").splitlines()
    paths = {line.split()[4] for line in sockets if '"envoy"' in line}
    # The kernel knows a socket by the name that it was bound by; what applications know is another of the same file.
    bound = SOCKET.replace("http.sock", ".http.sock")
    assert paths == {bound, "/run/hostguard-gateway/admin/admin.sock"}
    assert host.check_output(f"stat --format=%i {bound}") == host.check_output(f"stat --format=%i {SOCKET}")
    folders = host.check_output("stat -c '%a %U %G' /run/hostguard-gateway/payments /run/hostguard-gateway/admin")
    assert folders.splitlines() == ["2750 gateway shop", "700 gateway gateway"]


def test_the_rules_let_its_accounts_past_and_refuse_all_others(host: Host) -> None:
    shop, mail = host.check_output("id -u shop; id -u mail").split()
    saved = host.check_output("iptables-save -t filter").splitlines()
    rules = [rule.removeprefix("-A HOSTGUARD-GATEWAY ") for rule in saved if rule.startswith("-A HOSTGUARD-GATEWAY ")]
    served = ((84, shop), (85, mail), (86, mail), (87, mail))
    assert [rule for rule in rules if "--uid-owner" in rule] == [
        f"-p tcp -m tcp --dport {port} -m owner --uid-owner {uid} -j RETURN" for port, uid in served
    ]
    assert "-j REJECT" in rules[-1]
    first = next(rule for rule in saved if rule.startswith("-A OUTPUT "))
    assert "HOSTGUARD-GATEWAY" in first, first


def test_the_unit_and_its_sandbox(host: Host) -> None:
    wanted = {
        "ActiveState": "active", "UnitFileState": "enabled", "User": "gateway", "NoNewPrivileges": "yes",
        "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateDevices": "yes", "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "cap_net_bind_service", "RestrictNamespaces": "yes",
    }  # fmt: skip
    said = host.check_output(f"systemctl show --property={','.join(wanted)} {UNIT}").splitlines()
    assert dict(line.split("=", 1) for line in said) == wanted
    kernel = host.check_output(f"cat /proc/$(systemctl show --value --property=MainPID {UNIT})/status")
    for line in ("CapEff:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in kernel


def test_another_takes_over_without_a_lost_request(host: Host) -> None:
    code, same, running, *statuses = host.check_output(RELOAD).split()
    assert (code, same, running, statuses) == ("0", "0", "1", ["200"])
