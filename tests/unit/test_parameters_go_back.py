"""Kernel parameters go back though the kernel changes some beside the one that is written, or takes them in one order.

What the whole machine has is a stand-in here (mm/page-writeback.c, mm/util.c); what a network namespace has is tried
on the real kernel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostguard.host import parameters
from hostguard.host.kinds import sysctl
from hostguard.host.resource import HostError
from tests.packets.test_rules_go_back import alone


class Kernel:
    def __init__(self, **values: str) -> None:
        self.values = {key.replace("__", "."): value for key, value in values.items()}

    def live(self, key: str) -> str:
        try:
            return self.values[key]
        except KeyError:
            raise FileNotFoundError(key) from None

    def set(self, key: str, value: str) -> None:
        for pair in parameters.UNITS:
            if key in pair:
                if key.endswith("_bytes") and value == "0":
                    raise HostError("Invalid argument")
                self.values[pair[0] if key == pair[1] else pair[1]] = "0"
        if key == "net.ipv4.ip_local_port_range" and int(value.split()[0]) < int(self.values["start"]):
            raise HostError("Invalid argument")
        if key == "start" and int(value) > int(self.values.get("net.ipv4.ip_local_port_range", "99999").split()[0]):
            raise HostError("Invalid argument")
        self.values[key] = value


@pytest.fixture
def of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(sysctl, "OUR_FILE", str(tmp_path / "zz-hostguard.conf"))

    def kernel(**values: str) -> Kernel:
        made = Kernel(**values)
        monkeypatch.setattr(parameters, "live_value", made.live)
        monkeypatch.setattr(parameters, "set_live", made.set)
        return made

    return kernel


def wanted(key: str, value: str) -> dict[str, Any]:
    return {
        "id": f"sysctl:{key}",
        "kind": "sysctl",
        "control": "kernel.x",
        "key": key,
        "value": value,
        "compare": "equal",
    }


def there_and_back(kernel: Kernel, *resources: dict[str, Any]) -> bool:
    before, captured = dict(kernel.values), sysctl.capture(list(resources))
    for resource in resources:
        kernel.set(resource["key"], resource["value"])
    assert kernel.values != before
    sysctl.restore(list(resources), captured)
    now = sysctl.capture(list(resources))
    assert all(sysctl.as_before(r, captured[r["id"]], now[r["id"]]) for r in resources) == (kernel.values == before)
    return kernel.values == before


@pytest.mark.parametrize(
    ("written", "other"),
    [pair for both in parameters.UNITS for pair in (both, both[::-1])],
)
@pytest.mark.parametrize("first", [True, False])
def test_of_two_units_the_one_that_was_set_goes_back(of: Any, written: str, other: str, first: bool) -> None:
    kernel = of(
        **{written.replace(".", "__"): "0" if first else "30", other.replace(".", "__"): "20" if first else "0"}
    )
    assert there_and_back(kernel, wanted(written, "10"))


def test_what_goes_back_in_one_order_alone_does(of: Any) -> None:
    kernel = of(net__ipv4__ip_local_port_range="32768 60999", start="1024")
    range_, start = wanted("net.ipv4.ip_local_port_range", "50000 64999"), wanted("start", "40000")
    assert there_and_back(kernel, range_, start)
    assert there_and_back(of(net__ipv4__ip_local_port_range="32768 60999", start="1024"), range_, start)


FORWARDING = """
from hostguard.host import parameters
from hostguard.host.kinds import sysctl
sysctl.OUR_FILE = "/mnt/zz-hostguard.conf"
sh("mount -t tmpfs none /mnt; ip link add d0 type veth peer name d1")
def set_(key, value):
    parameters.set_live(key, value)
def all_of(*patterns):
    return {path: open(path).read() for pattern in patterns for path in sorted(glob.glob("/proc/sys/net/" + pattern))}
import glob
def wanted(key, value):
    return {"id": "sysctl:" + key, "kind": "sysctl", "control": "c.x", "key": key, "value": value, "compare": "equal"}
"""


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(
    ("prepared", "key", "value", "patterns"),
    [
        ({"net.ipv4.ip_forward": "0", "net.ipv4.conf.d0.forwarding": "1", "net.ipv4.conf.all.accept_redirects": "0"},
         "net.ipv4.ip_forward", "1", ["ipv4/conf/*/forwarding", "ipv4/conf/*/accept_redirects", "ipv4/ip_forward"]),
        ({"net.ipv6.conf.d0.forwarding": "1"}, "net.ipv6.conf.all.forwarding", "1", ["ipv6/conf/*/forwarding"]),
        ({"net.ipv6.conf.d1.disable_ipv6": "1"}, "net.ipv6.conf.all.disable_ipv6", "1", ["ipv6/conf/*/disable_ipv6"]),
    ],
    ids=["IPv4's forwarding", "IPv6's forwarding", "IPv6"],
)  # fmt: skip
def test_what_is_handed_down_to_devices_goes_back(
    prepared: dict[str, str], key: str, value: str, patterns: list[str]
) -> None:
    same, told, untold = alone(
        FORWARDING
        + f"""
for each in {list(prepared.items())!r}:
    set_(*each)
before, ours = all_of(*{patterns!r}), [wanted({key!r}, {value!r})]
captured = sysctl.capture(ours)
sysctl.write(ours, sysctl.read(ours))
changed = all_of(*{patterns!r}) != before
sysctl.restore(ours, captured)
now = sysctl.capture(ours)
told = sysctl.as_before(ours[0], captured[ours[0]["id"]], now[ours[0]["id"]])
same = changed and all_of(*{patterns!r}) == before
set_({next(iter(prepared))!r}, "0" if {next(iter(prepared.values()))!r} == "1" else "1")
now = sysctl.capture(ours)
print(json.dumps([same, told, sysctl.as_before(ours[0], captured[ours[0]["id"]], now[ours[0]["id"]])]))
"""
    )
    assert (same, told, untold) == (True, True, False)


def test_the_file_goes_back_with_its_comments(of: Any) -> None:
    of(a="1")
    path = Path(sysctl.OUR_FILE)
    path.write_text("# ours, and a word of an admin's\n-b\na = 1\n", encoding="utf-8")
    path.chmod(0o600)
    before = path.stat().st_mtime_ns, path.read_text(encoding="utf-8")
    resource = wanted("a", "2")
    captured = sysctl.capture([resource])
    path.write_text("a = 2\n", encoding="utf-8")
    sysctl.restore([resource], captured)
    assert (path.stat().st_mtime_ns, path.read_text(encoding="utf-8")) == before
    path.write_text("a = 1\n", encoding="utf-8")
    now = sysctl.capture([resource])
    assert not sysctl.as_before(resource, captured["sysctl:a"], now["sysctl:a"])


def test_several_generations_go_back_to_what_was_there_before_the_first(of: Any) -> None:
    """The second one found what the first had handed down."""
    of()
    older = {
        "sysctl:all": {"key": "all", "live": "0", "line": None, "file": {"type": "absent"}, "beside": {"one": "0"}}
    }
    newer = {"sysctl:one": {"key": "one", "live": "1", "line": None, "file": {"type": "file"}, "beside": {}}}
    before = {**newer, **older}
    sysctl.carry_over(older, before)
    assert (before["sysctl:one"]["live"], before["sysctl:one"]["file"]) == ("0", {"type": "absent"})
