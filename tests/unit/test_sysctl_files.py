"""Which value a boot ends with, as systemd's own sysctl.c (v252 to v257) and ufw take the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostguard.host import parameters, sysctl_files, ufw
from hostguard.host.kinds import sysctl

RP = "net.ipv4.conf.{}.rp_filter"


def won(key: str, *lines: str) -> str | None:
    found = sysctl_files.winner(sysctl_files.parse("\n".join(lines), "/etc/sysctl.d/a.conf"), key)
    return found.value if found else None


@pytest.mark.parametrize(
    ("lines", "device", "value"),
    [
        (["net.ipv4.conf.*.rp_filter = 2"], "all", "2"),
        (["net.ipv4.conf.*.rp_filter = 2", "-net.ipv4.conf.all.rp_filter"], "all", None),
        (["net.ipv4.conf.*.rp_filter = 2", "-net.ipv4.conf.all.rp_filter"], "eth0", "2"),
        (["net.ipv4.conf.all.rp_filter = 1", "-net.ipv4.conf.all.rp_filter"], "all", None),
        (["-net.ipv4.conf.all.rp_filter", "net.ipv4.conf.all.rp_filter = 1"], "all", "1"),
        (["net.ipv4.conf.all.rp_filter = 1", "net.ipv4.conf.*.rp_filter = 2"], "all", "1"),
        (["-net/ipv4/conf/all/rp_filter"], "all", None),
        (["- net.ipv4.conf.all.rp_filter = 1"], "all", "1"),
        (["net.ipv4.conf.all.rp_filter"], "all", None),
        (["net.*.rp_filter = 2"], "all", None),
        (["net.ipv4.*.*.rp_filter = 2"], "all", "2"),
        (["net/ipv4/conf/eth0.100/rp_filter = 2"], "eth0/100", "2"),
        (["net.ipv4.conf.eth0/100.rp_filter = 2"], "eth0/100", "2"),
        (["net.ipv4.conf.*.rp_filter = 2"], "eth0/100", "2"),
    ],
)
def test_the_line_that_wins(lines: list[str], device: str, value: str | None) -> None:
    assert won(RP.format(device), *lines) == value


def test_the_device_of_a_vlan_is_one_folder() -> None:
    assert parameters.path_of(RP.format("eth0/100")) == "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"


UFW = "net/ipv4/conf/all/log_martians=0\nnet/ipv4/tcp_syncookies=1\n"


@pytest.mark.parametrize(
    ("enabled", "named", "won"), [("yes", "", "0"), ("YES", "other.conf", "0"), ("no", "", "1"), ("", "", "1")]
)
def test_what_ufw_sets_comes_after(
    enabled: str, named: str, won: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key = tmp_path / "sysctl.d", "net.ipv4.conf.all.log_martians"
    folder.mkdir()
    (folder / "zz-hostguard.conf").write_text(f"{key} = 1\n")
    monkeypatch.setattr(sysctl_files, "FOLDERS", (str(folder),))
    for name, text in (
        ("CONF", f"ENABLED={enabled}\n"),
        ("DEFAULTS", f"IPT_SYSCTL={tmp_path / named}\n" if named else "IPV6=yes\n"),
        ("SYSCTL", UFW if not named else ""),
    ):
        path = tmp_path / name
        path.write_text(text)
        monkeypatch.setattr(ufw, name, str(path))
    if named:
        (tmp_path / named).write_text(UFW)
    assignments = sysctl_files.configuration()
    found = sysctl_files.winner(assignments, key)
    assert found
    assert found.value == won
    seen = sysctl._observation(key, "1", assignments, "", foreign=False)
    wanted = {"key": key, "value": "1", "compare": "equal"}
    blocked = [each.blocked for each in sysctl.differ(wanted, seen)]
    assert blocked == ([] if won == "1" else [f"{found.path}:1 sets it after {sysctl.OUR_FILE} at boot and would win: "
                                              "remove that line"])  # fmt: skip
