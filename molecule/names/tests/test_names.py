"""A host that knows names, asked with its own tools: none of hostguard's code is used here."""

from __future__ import annotations

import os

from testinfra.host import Host

testinfra_hosts = [os.environ["HOSTGUARD_HOST"]]
NAME, PROVIDER, ENEMY = "api.provider.com", "203.0.113.5", "enemy.example"


def reached(host: Host, account: str, to: str) -> str:
    """Nobody listens there: to be refused is to have been there and back."""
    said = host.run(f"runuser -u {account} -- nc -vzw2 {to} 443").stderr
    return next((word for word in ("refused", "timed out", "not known") if word in said), said)


def test_who_resolves(host: Host) -> None:
    assert host.service("hostguard-names").is_running
    assert host.service("hostguard-names").is_enabled
    lines = host.file("/etc/resolv.conf").content_string.splitlines()
    assert [line for line in lines if line.startswith("nameserver")] == ["nameserver 127.0.0.83"]
    (process,) = host.process.filter(user="dnsmasq")
    assert "names.conf" in process.args


def test_a_name_gets_out_and_no_other_does(host: Host) -> None:
    assert reached(host, "envoy", NAME) == "refused"
    assert reached(host, "root", PROVIDER) == "timed out"
    assert "not known" in reached(host, "envoy", ENEMY)
    assert "not known" in reached(host, "envoy", f"stolen-data.{NAME}")
    assert reached(host, "envoy", "198.51.100.66") == "timed out"


def test_the_address_is_in_the_sets_for_its_time(host: Host) -> None:
    saved = host.check_output("ipset save").splitlines()
    times = [int(line.split()[4]) for line in saved if line.startswith("add hostguard-4-") and PROVIDER in line]
    new, opened = sorted(times)
    assert 3000 < new <= 3900
    assert 2_000_000 < opened <= 2_147_483


def test_what_the_world_was_asked(host: Host) -> None:
    asked = {
        line.split()[5] for line in host.file("/var/log/upstream").content_string.splitlines() if " query[" in line
    }
    assert asked == {NAME}
