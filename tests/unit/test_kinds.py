"""What the kinds of resource read and compare, without a host."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostguard.answer import observed
from hostguard.host import (
    cgroup,
    iptables,
    kept_file,
    mountinfo,
    nft,
    parameters,
    proc_net,
    sysctl_files,
    systemctl,
    unit_files,
)
from hostguard.host.kinds import file, frames, ipset, mount, pam_limit, ruleset, slice, sysctl, unit
from hostguard.host.resource import ABSENT_HERE, VALUE, Observation, resolve, unreadable, value
from hostguard.host.snapshot import differ


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The folders of sysctl.d(5), in order of precedence."""
    made = {name: tmp_path / name for name in ("etc", "run", "lib")}
    for folder in made.values():
        folder.mkdir()
    monkeypatch.setattr(sysctl_files, "FOLDERS", tuple(map(str, made.values())))
    return made


def boot_value(key: str) -> str | None:
    won = sysctl_files.winner(sysctl_files.configuration(), key)
    return won.value if won else None


def test_files_are_ordered_by_name_alone(folders: dict[str, Path]) -> None:
    (folders["etc"] / "10-a.conf").write_text("net.core.somaxconn = 1\n")
    (folders["lib"] / "50-b.conf").write_text("net/core/somaxconn=2\n")
    assert boot_value("net.core.somaxconn") == "2"


def test_a_file_hides_its_namesake_in_a_later_folder(folders: dict[str, Path]) -> None:
    (folders["lib"] / "50-a.conf").write_text("a.b = 1\n")
    (folders["run"] / "50-a.conf").write_text("# a.b = 2\n; a.b = 3\n\n-a.c = 4  5\n")
    assert (boot_value("a.b"), boot_value("a.c")) == (None, "4 5")
    (folders["etc"] / "50-a.conf").symlink_to("/dev/null")
    assert boot_value("a.c") is None


def test_the_last_assignment_wins_and_an_exact_key_beats_a_glob(folders: dict[str, Path]) -> None:
    (folders["etc"] / "1.conf").write_text("net.ipv4.conf.eth0.rp_filter = 1\nx.y = 1\nx.y = 2\n")
    (folders["etc"] / "2.conf").write_text("net.ipv4.conf.*.rp_filter = 2\n")
    assert boot_value("net.ipv4.conf.eth0.rp_filter") == "1"
    assert boot_value("net.ipv4.conf.eth1.rp_filter") == "2"
    assert boot_value("x.y") == "2"


def parameter(**more: Any) -> dict[str, Any]:
    return {"id": "s", "kind": "sysctl", "control": "c", "key": "net.core.somaxconn", "value": "4096", **more}


def test_an_old_kernel_does_without_a_parameter_that_came_later(folders: dict[str, Path]) -> None:
    assert folders
    wanted = parameter(key="net.ipv4.tcp_no_such", compare="equal")
    assert sysctl.read([wanted])["s"].state == "value"
    found = sysctl.read([{**wanted, "since": "99.9"}])["s"]
    assert (found.state, "came with Linux 99.9" in str(found)) == ("not_applicable", True)
    answer = json.loads(json.dumps(found))
    assert observed({**wanted, "since": "99.9"}, answer, image=False) == found, "the controller takes the host's word"
    assert observed(wanted, answer, image=False).state == "unreadable", "of a parameter that every kernel has"


def seen(**more: Any) -> Observation:
    known = {"live": "4096", "boot": "4096", "boot_from": "f:1", "later": None, "trouble": "", "foreign": False}
    return value({**known, **more})


@pytest.mark.parametrize(
    ("compare", "more", "fields"),
    [
        ("min", {}, []),
        ("min", {"trouble": "the unit is masked"}, ["at boot"]),
        ("min", {"live": "70000", "boot": "70000"}, []),
        ("min", {"live": "128"}, ["live"]),
        ("min", {"boot": None}, ["at boot"]),
        ("equal", {"live": "4097"}, ["live"]),
        ("equal", {"live": "128", "boot": "128"}, ["live", "at boot"]),
    ],
)
def test_a_parameter_must_hold_now_and_at_boot(compare: str, more: dict[str, Any], fields: list[str]) -> None:
    assert [d.field for d in sysctl.differ(parameter(compare=compare), seen(**more))] == fields


def test_a_later_file_is_in_the_way() -> None:
    (found,) = sysctl.differ(
        parameter(compare="equal"), seen(boot="1", boot_from="z:3", later="/etc/sysctl.d/zzz.conf:3")
    )
    assert "/etc/sysctl.d/zzz.conf:3" in found.blocked


def test_the_machine_s_parameters_are_not_a_container_s_to_set() -> None:
    (found,) = sysctl.differ(parameter(compare="min"), seen(live="1", boot=None, foreign=True))
    assert "not this container's" in found.blocked


@given(st.sets(st.integers(0, 65535), max_size=40))
def test_port_lists_survive_the_kernels_writing(numbers: set[int]) -> None:
    assert parameters.ports(parameters.port_list(numbers)) == numbers


@given(st.ip_addresses(v=4))
def test_addresses_of_proc_net_tcp(address: Any) -> None:
    digits = struct.pack("=I", struct.unpack("=I", address.packed)[0]).hex()
    words = f"{struct.unpack('=I', bytes.fromhex(digits))[0]:08X}"
    assert proc_net.decode(words) == ("ipv4", str(address))


@given(st.ip_addresses(v=6))
def test_addresses_of_proc_net_tcp6(address: Any) -> None:
    words = "".join(f"{word:08X}" for word in struct.unpack("=4I", address.packed))
    family, text = proc_net.decode(words)
    if address.ipv4_mapped:
        assert (family, text) == ("ipv4", str(address.ipv4_mapped))
    else:
        assert (family, socket.inet_pton(socket.AF_INET6, text)) == ("ipv6", address.packed)


def test_a_set_is_compared_entry_by_entry() -> None:
    saved = "create hostguard-4-x hash:net,port family inet hashsize 1024 maxelem 65536\n"
    saved += "add hostguard-4-x 10.0.0.1,tcp:443\nadd hostguard-4-x 10.9.0.0/16,udp:53\n"
    found = ipset.parse(saved)["hostguard-4-x"]
    resource = {"id": "i", "kind": "ipset", "name": "hostguard-4-x", "type": "hash:net,port", "family": "ipv4"}
    same = {**resource, "entries": ["10.0.0.1/32,tcp:443", "10.9.0.0/16,udp:53"]}
    assert ipset.differ(same, value(found)) == []
    other = {**resource, "entries": ["10.0.0.2/32,tcp:443", "10.9.0.0/16,udp:53"]}
    assert [(d.field, d.have, d.want) for d in ipset.differ(other, value(found))] == [
        ("missing", "", "10.0.0.2,tcp:443"),
        ("not in the policy", "10.0.0.1,tcp:443", ""),
    ]
    assert ipset.differ(same, ABSENT_HERE)[0].have == "absent"


SAVED = "create s hash:ip family inet hashsize 1024 maxelem 65536 timeout 3900 bucketsize 12 initval 0x5ee6 forceadd\n"


@pytest.mark.parametrize(
    ("saved", "fields"),
    [
        (SAVED, []),
        (SAVED + "add s 198.51.100.1 timeout 3900\nadd s 198.51.100.2 timeout 1\n", []),
        (SAVED + "add s 198.51.100.1 timeout 0\n", ["not from an answer"]),
        (SAVED + "add s 198.51.100.1 timeout 3901\n", ["not from an answer"]),
        (SAVED.replace("3900", "60"), ["timeout"]),
        (SAVED.replace(" timeout 3900", "") + "add s 198.51.100.1\n", ["timeout", "not from an answer"]),
        (SAVED.replace("hash:ip", "hash:net"), ["type"]),
    ],
)
def test_a_set_that_answers_fill_is_compared_by_what_no_answer_does(saved: str, fields: list[str]) -> None:
    resource = {"id": "i", "kind": "ipset", "name": "s", "type": "hash:ip", "family": "ipv4", "entries": [],
                "timeout": 3900}  # fmt: skip
    assert [d.field for d in ipset.differ(resource, value(ipset.parse(saved)["s"]))] == fields


@pytest.mark.parametrize(
    ("active", "mark", "fields"),
    [("active", "a", []), ("active", "", ["running"]), ("active", "b", ["running"]), ("failed", "", ["active"])],
)
def test_a_unit_runs_with_what_is_on_disk(active: str, mark: str, fields: list[str]) -> None:
    resource = {"id": "u", "kind": "unit", "unit": "u.service", "active": True, "mark": "a"}
    have = {"enabled": "enabled", "active": active, "reload": "no", "properties": {}, "masked": False, "drop_ins": [],
            "conflicts": [], "assigned": {}, "held": False, "mark": mark}  # fmt: skip
    assert [d.field for d in unit.differ(resource, value(have))] == fields


RULES = ["-o lo -j ACCEPT", "-j DROP"]


def chain(**more: Any) -> dict[str, Any]:
    return {"id": "r", "kind": "ruleset", "family": "ipv4", "hook": "OUTPUT", "chain": "HOSTGUARD-OUTPUT",
            "policy": "DROP", "rules": RULES, "first": True, **more}  # fmt: skip


def table(**more: Any) -> Observation:
    return value(
        {
            "policy": "DROP",
            "rules": RULES,
            "canonical": None,
            "jumps": [1],
            "behind": 0,
            "before": "",
            "table": True,
            "dormant": False,
            "owner": False,
            "sending": [],
            "elsewhere": False,
            **more,
        }
    )


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({}, []),
        ({"policy": "ACCEPT"}, ["policy"]),
        ({"rules": None}, ["rules"]),
        ({"rules": ["-j ACCEPT"]}, ["rules"]),
        ({"rules": ["other words"], "canonical": ["other words"]}, []),
        ({"jumps": []}, ["jump"]),
        ({"jumps": [2], "before": "-j ACCEPT"}, ["jump"]),
        ({"jumps": [1, 4]}, ["jump"]),
        ({"dormant": True}, ["table"]),
        ({"owner": True}, ["table"]),
        ({"sending": ["inet x c"]}, ["destination"]),
        ({"jumps": [3]}, []),  # what stands before it lets nothing past
    ],
)
def test_a_chain_is_ours_only_if_all_of_it_is(more: dict[str, Any], fields: list[str]) -> None:
    assert [d.field for d in ruleset.differ(chain(), table(**more))] == fields


def test_what_nft_alone_shows() -> None:
    hook = "\t\ttype {} hook {} priority 10; policy accept;\n"
    tables = [
        "table ip filter {\n\tflags dormant\n\n\tchain OUTPUT {\n" + hook.format("filter", "output") + "\t}\n}\n",
        "table ip6 a {\n\tchain p {\n" + hook.format("filter", "postrouting") + "\t\tjump c\n\t}\n"
        "\tchain c {\n\t\tip6 daddr 2001:db8::5 ip6 daddr set 2001:db8::6\n\t}\n}\n",
        "table ip c {\n\tchain f {\n" + hook.format("filter", "forward") + "\t\tip daddr set 192.0.2.1\n\t}\n}\n",
        "table inet b {\n\tchain in {\n" + hook.format("filter", "input") + "\t\tudp dport set 53\n\t}\n"
        "\tchain out {\n" + hook.format("filter", "output") + "\t\tmeta mark set 0x1 ip dscp set cs1\n\t}\n}\n",
        "table ip6 g {\n\tchain r {\n" + hook.format("filter", "output") + '\t\tcomment "x\n\t}\n" ip6 nexthdr tcp '
        "@nh,144,16 set 0x7107\n\t}\n}\n",
        'table netdev d {\n\tchain e {\n\t\ttype filter hook egress device "eth0" priority 0;\n\t\tfwd to "eth1"\n'
        "\t}\n}\n",
    ]
    assert nft.parse_ruleset("".join(tables)) == {
        "ipv4": {"dormant": ["ip filter"], "owner": [], "OUTPUT": ["netdev d e"], "FORWARD": ["ip c f"]},
        "ipv6": {"dormant": [], "owner": [], "OUTPUT": ["ip6 a c", "ip6 g r"], "FORWARD": []},
    }
    owned = nft.parse_ruleset("table ip6 filter { # progname x\n\tflags dormant,owner\n\n\tchain c {\n\t}\n}\n")
    assert owned["ipv6"] == {"dormant": ["ip6 filter"], "owner": ["ip6 filter"], "OUTPUT": [], "FORWARD": []}


@pytest.mark.parametrize(
    ("rule", "policy", "past"),
    [
        ("-p tcp -j ACCEPT", "DROP", True),
        ("-p tcp -j DROP", "ACCEPT", False),
        ('-m comment --comment "counted alone"', "ACCEPT", False),
        ("-m limit --limit 1/sec -j LOG", "ACCEPT", False),
        ("-j RETURN", "DROP", False),
        ("-j RETURN", "ACCEPT", True),
        ("-j NFQUEUE --queue-num 0", "DROP", True),
        ("-j f2b", "ACCEPT", False),
        ("-g f2b", "DROP", True),
        ("-j deep", "DROP", True),
        ('-m comment --comment "says \\" -j DROP or so" -j ACCEPT', "DROP", True),
        (iptables.UNSHOWN, "DROP", True),
    ],
)
def test_what_stands_before_our_jump_may_drop_and_no_more(rule: str, policy: str, past: bool) -> None:
    chains = {
        "f2b": ["-s 192.0.2.1/32 -j REJECT", "-j RETURN"],
        "deep": ["-j f2b", "-j deeper"],
        "deeper": ["-j ACCEPT"],
    }
    assert iptables.lets_past(rule, chains, policy) is past


def test_a_load_script_takes_away_the_jump_that_is_there() -> None:
    lines = ruleset.load_script([chain()], {"r": {"jumps": [3], "behind": 0}}).splitlines()
    assert lines[0] == "*filter"
    assert lines[-1] == "COMMIT"
    assert lines.index("-D OUTPUT -j HOSTGUARD-OUTPUT") < lines.index("-I OUTPUT 1 -j HOSTGUARD-OUTPUT")
    assert ":OUTPUT DROP [0:0]" in lines


def test_each_table_is_a_transaction_of_its_own() -> None:
    script = ruleset.load_script([chain(), {**chain(), "id": "m", "table": "mangle"}, {**chain(), "id": "f"}], {})
    assert [line for line in script.splitlines() if line[0] == "*" or line == "COMMIT"] == [
        "*filter", "COMMIT", "*mangle", "COMMIT",
    ]  # fmt: skip


def test_the_last_mount_at_a_path_is_the_one_that_is_seen() -> None:
    line = "25 1 0:23 / /run/my\\040secrets rw,nosuid,noexec shared:1 - tmpfs tmpfs rw,size=16384k,noswap"
    (found,) = mountinfo.parse(line)
    assert (found["path"], found["type"]) == ("/run/my secrets", "tmpfs")
    assert {"nosuid", "noswap", "size=16384k"} <= set(found["options"])
    assert [mount.size_of(text) for text in ("16384k", "1g", "4096", "")] == [16 * 2**20, 2**30, 4096, 0]


def test_limits_lines_set_both_kinds_with_a_dash() -> None:
    text = "# comment\n* - nofile 10 # tail\n@group hard nofile 7\nroot soft nofile unlimited\nnonsense\n"
    found = [(line.domain, line.kind, line.limit) for line in pam_limit.parse(text, "f")]
    assert found == [("*", "soft", "10"), ("*", "hard", "10"), ("@group", "hard", "7"), ("root", "soft", "unlimited")]
    assert pam_limit.parse("envoy - # of none\n", "f") == [("envoy", "exempt", "", "exempt", "f:1")]
    assert pam_limit.enough("unlimited", 10**9)
    assert not pam_limit.enough("7", 8)


def test_the_sessions_of_pam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pam_limit, "STACKS", str(tmp_path))
    monkeypatch.setattr(pam_limit, "SSHD", str(tmp_path / "none"))
    (tmp_path / "sshd").write_text("@include common\nsession [success=ok default=bad] /lib/security/pam_loginuid.so\n")
    (tmp_path / "common").write_text("session\tinclude deeper\n")
    (tmp_path / "deeper").write_text("-session optional pam_limits.so # as ever\nsession include sshd\n")
    assert pam_limit.passed_by() == []
    (tmp_path / "deeper").write_text("session required pam_limits.so conf=/etc/mine\n")
    assert [words.split()[0] for words in pam_limit.passed_by()] == [
        str(tmp_path / n) for n in ("common", "deeper", "sshd")
    ]
    (tmp_path / "deeper").write_text("auth required pam_limits.so\n# session required pam_limits.so\n")
    assert pam_limit.passed_by() == [f"{tmp_path}/sshd has no pam_limits.so in its session"]


@pytest.mark.parametrize(
    ("text", "included", "well"),
    [
        ("UsePAM yes\n", "", True),
        ("usepam = yes\n", "", True),
        ('UsePAM "yes" # comment\n', "", True),
        ("UsePAM no\n", "", False),
        ("#UsePAM yes\n", "", False),
        ("", "", False),
        ("UsePAM no\nUsePAM yes\n", "", False),
        ("Include conf.d/*.conf\nUsePAM yes\n", "UsePAM no\n", False),
        ("Include conf.d/*.conf\nUsePAM no\n", "UsePAM yes\n", True),
        ("Include conf.d/*.conf\nUsePAM yes\n", "Match user x\nUsePAM no\n", True),
        ("UsePAM yes\nInclude conf.d/*.conf\n", "UsePAM no\n", True),
    ],
)
def test_whether_sshd_asks_pam(
    text: str, included: str, well: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pam.d").mkdir()
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").write_text(included)
    (tmp_path / "sshd_config").write_text(text)
    monkeypatch.setattr(pam_limit, "STACKS", str(tmp_path / "pam.d"))
    monkeypatch.setattr(pam_limit, "SSHD", str(tmp_path / "sshd_config"))
    found = pam_limit.passed_by()
    assert found == [] if well else "does not say UsePAM yes" in found[0]


def test_what_systemd_would_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "etc", tmp_path / "run"
    monkeypatch.setattr(unit_files, "FOLDERS", (str(first), str(second)))
    shadowing = {second / "a-b@c.service.d/2.conf": "", first / "a-b@c.service.d/2.conf": "[Service]\nSlice = x\n"}
    in_order = {first / "a-b@c.service": "", second / "service.d/1.conf": "[Unit]\nConditionPathExists=/x\n",
                first / "a-.service.d/3.conf": "", second / "a-b@.service.d/4.conf": "[Service]\nSlice=\n"}  # fmt: skip
    for path, text in {**shadowing, **in_order}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = unit_files.files("a-b@c.service", {})
    service, condition, third, fourth = map(str, in_order)
    assert found == [service, condition, str(first / "a-b@c.service.d/2.conf"), third, fourth]
    assert unit_files.assigned("Slice", found) == ["", fourth]
    assert unit_files.assigned("Slice", found[:-1]) == ["x", found[2]]
    assert unit_files.deciding(found) == [condition]


@pytest.mark.parametrize(
    ("text", "slice_", "decides"),
    [
        ("[Service]\nSlice=a.slice\n[X-Note]\nSlice=b.slice\n", "a.slice", False),
        ("[Unit]\nSlice=b.slice\nConflicts=c.service\n", "", True),
        ("[Service]\nSlice=a.slice\nDescription=x \\\n# a comment\nSlice=b.slice\n", "a.slice", False),
        ("[Service]\nSlice =\ta.slice\nOptions =size=1M\n", "a.slice", True),
        ("[Service]\nProtectKernelTunables=yes\n", "", True),
        ("[Service]\nProtectKernelTunables=no\nPrivateNetwork=\nLimitCORE=0\nNice=5\n", "", False),
        ("[Service]\nExecStart=\n", "", True),
        ("[Unit]\nConditionPathExists=\n", "", True),
        ("[Mount]\nOptions=\n", "", True),
        ("[Slice]\nMemoryMax=0\n", "", True),
        ("[Service]\nRemainAfterExit=no\n", "", True),
        ("[Service]\nSlice=a.slice\\", "a.slice", False),
        ("[Service]\n\x0cSlice=a.slice\n", "", True),
        ("[Service]\n;Slice=b.slice\n#PrivateTmp=yes\n", "", False),
        ("[Install]\nWantedBy=x\n[X-A]\nPrivateNetwork=yes\n", "", False),
    ],
)
def test_a_file_is_read_as_systemd_reads_it(tmp_path: Path, text: str, slice_: str, decides: bool) -> None:
    for place in ("a.service.d/1.conf", "service.d/1.conf", "a.service"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        assert unit_files.assigned("Slice", [str(path)])[0] == slice_
        assert bool(unit_files.deciding([str(path)])) == decides


@pytest.mark.parametrize(
    ("links", "starts"),
    [
        ({}, False),
        ({"second": "/usr/x"}, True),
        ({"first": "/dev/null", "second": "/usr/x"}, False),
        ({"first": "../empty"}, False),
        ({"first": "/gone"}, True),
    ],
)
def test_a_boot_heeds_the_first_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: dict[str, str], starts: bool
) -> None:
    monkeypatch.setattr(unit_files, "FOLDERS", (str(tmp_path / "first"), str(tmp_path / "second")))
    for folder in ("first", "second"):
        (tmp_path / folder / "sysinit.target.wants").mkdir(parents=True)
    (tmp_path / "first" / "empty").write_text("")
    for folder, target in links.items():
        (tmp_path / folder / "sysinit.target.wants" / "a.service").symlink_to(target)
    assert unit_files.is_wanted("a.service", "sysinit.target") == starts


def test_lines_end_where_systemd_ends_them() -> None:
    text = "a = 1\x0cb = 2\u2028c = 3\r\nd = 4\0e = 5\n"
    assert [(each.key, each.line) for each in sysctl_files.parse(text, "f")] == [("a", 1), ("d", 2), ("e", 3)]


def test_units_are_read_a_block_each() -> None:
    assert systemctl.parse("Id=a.service\nEnvironment=A=1 B=2\n\nId=b.service\n") == [
        {"Id": "a.service", "Environment": "A=1 B=2"},
        {"Id": "b.service"},
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [("a.slice", "/a.slice"), ("a-b.slice", "/a.slice/a-b.slice"), ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice")],
)
def test_slices_nest_at_their_dashes(name: str, path: str) -> None:
    assert cgroup.slice_path(name) == path


@pytest.mark.parametrize("unified", [True, False])
def test_a_slice_is_read_from_the_files_of_both_hierarchies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unified: bool
) -> None:
    monkeypatch.setattr(cgroup, "ROOT", str(tmp_path))
    wanted = {"id": "s", "kind": "slice", "slice": "hostguard-x.slice", "memory_max": "536870912",
              "memory_high": "268435456", "cpu_quota": "150", "tasks_max": "512"}  # fmt: skip
    (tmp_path / ("cgroup.controllers" if unified else "nothing")).write_text("")
    place = "hostguard.slice/hostguard-x.slice"
    files = (
        {"memory.max": "536870912", "memory.high": "268435456", "cpu.max": "150000 100000", "pids.max": "512"}
        if unified
        else {"memory/memory.limit_in_bytes": "536870912", "cpu/cpu.cfs_quota_us": "150000",
              "cpu/cpu.cfs_period_us": "100000", "pids/pids.max": "512"}
    )  # fmt: skip
    assert slice.differ(wanted, slice.read([wanted])["s"])[0].field == "cgroup"
    for name, text in files.items():
        controller, _, base = name.rpartition("/")
        path = tmp_path / controller / place / base
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert slice.differ(wanted, slice.read([wanted])["s"]) == []
    (path.parent / path.name).write_text("max\n")
    assert [d.field for d in slice.differ(wanted, slice.read([wanted])["s"])] == ["tasks_max"]


def test_a_file_goes_back_to_the_last_detail(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    before = kept_file.snapshot(str(path))
    kept_file.put(str(path), b"ours", 0o640, os.getuid(), os.getgid())
    assert path.read_bytes() == b"ours"
    kept_file.put_back(before)
    assert list(tmp_path.iterdir()) == []

    kept = tmp_path / "kept"
    kept.write_bytes(b"\xff theirs")
    kept.chmod(0o604)
    os.utime(kept, ns=(10**18, 10**18 + 7))
    link = tmp_path / "link"
    link.symlink_to("kept")
    captured = [kept_file.snapshot(str(kept)), kept_file.snapshot(str(link))]
    for path in (kept, link):
        kept_file.put(str(path), b"ours", 0o600, os.getuid(), os.getgid())
    for saved in captured:
        kept_file.put_back(saved)
    status = kept.stat()
    assert (kept.read_bytes(), stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (b"\xff theirs", 0o604, 10**18 + 7)
    assert link.readlink() == Path("kept")


def test_an_account_that_is_missing_blocks_its_resource() -> None:
    resource = {"id": "x", "kind": "mount", "uid": "${uid:envoy}", "options": ["a${noswap}"]}
    assert resolve(resource, {"uid:envoy": "101", "noswap": ",noswap"})["options"] == ["a,noswap"]
    blocked = resolve(resource, {"noswap": ""})
    (found,) = differ(blocked, unreadable(blocked["blocked"]))
    assert "the account envoy does not exist" in found.blocked


def test_what_can_not_be_read_is_no_difference() -> None:
    for kind in (file, ipset, mount, pam_limit, ruleset, slice, sysctl, unit):
        assert kind.differ({"kind": "any", "path": "/x"}, unreadable("no right to")) == []
    assert ABSENT_HERE.state != VALUE


def link(name: str, kind: str = "", master: str = "", **more: Any) -> dict[str, Any]:
    found = {"ifname": name, "link_type": "ether", "address": "02:00:00:00:00:0a", "addr_info": [], **more}
    return {**found, **({"linkinfo": {"info_kind": kind}} if kind else {}), **({"master": master} if master else {})}


LEASE = {"addr_info": [{"family": "inet", "local": "192.0.2.7", "dynamic": True}]}
SLAAC = {"addr_info": [{"family": "inet6", "local": "2001:db8::7", "dynamic": True}]}
LO = {"ifname": "lo", "link_type": "loopback", "addr_info": []}


@pytest.mark.parametrize(
    ("links", "leaving", "leased", "bridged", "vrf"),
    [
        ([LO, link("eth0", **SLAAC), link("docker0", "bridge"), link("v1", "veth", "docker0")], ["eth0"], [], [], []),
        ([LO, link("eth0", "veth"), link("v1", "veth", "br0"), link("br0", "bridge")], ["eth0"], [], [], []),
        ([link("eth0"), link("eth1"), link("eth0.5", "vlan", **LEASE)], ["eth0", "eth1"], ["eth0.5"], [], []),
        ([link("eth0", master="br0"), link("br0", "bridge"), link("tap0", "tun", "br0")], ["eth0"], [], ["eth0"], []),
        ([link("eth0", master="bond0"), link("bond0", "bond"), link("red", "vrf")], ["eth0"], [], [], ["red"]),
    ],
)
def test_the_devices_that_frames_leave_through(
    links: list[dict[str, Any]], leaving: list[str], leased: list[str], bridged: list[str], vrf: list[str]
) -> None:
    found = frames.devices(json.dumps(links))
    assert (list(found.leaving), found.leased, found.bridged, found.vrf) == (leaving, leased, bridged, vrf)


FRAMES = {"id": "f", "kind": "frames", "chains": {"refuse": ["drop"], "leaving": ["goto refuse"]}, "holds": True,
          "device_rules": ["ether saddr != ADDRESS drop", "jump leaving"], "dhcp": False}  # fmt: skip


def of_frames(**more: Any) -> Observation:
    leaving = {"eth0": "02:00:00:00:00:0a"}
    chains = nft.parse_table(frames.script(frames.chains_of(FRAMES, leaving)).partition("table netdev hostguard {")[2])
    seen = {
        "nft": True,
        "leaving": leaving,
        "leased": [],
        "bridged": [],
        "vrf": [],
        "chains": chains,
        "canonical": None,
    }
    return value({**seen, **more})


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({}, []),
        ({"nft": False}, ["nft"]),
        ({"chains": None}, ["table"]),
        ({"chains": {"": ["flags dormant"], **of_frames().value["chains"]}}, ["table"]),
        ({"chains": {**of_frames().value["chains"], "leaving": ["accept", "goto refuse"]}}, ["chain leaving"]),
        ({"leaving": {"eth0": "02:00:00:00:00:0b"}}, ["device eth0"]),
        ({"leaving": {"eth0": "02:00:00:00:00:0a", "eth1": "02:00:00:00:00:0c"}}, ["device eth1"]),
        ({"leaving": {}}, ["device eth0"]),
        ({"leased": ["eth0"]}, ["DHCP"]),
        ({"bridged": ["eth0"], "vrf": ["red"]}, ["bridge", "VRF"]),
    ],
)
def test_frames_are_held_as_wanted_on_every_device(more: dict[str, Any], fields: list[str]) -> None:
    found = frames.differ(FRAMES, of_frames(**more))
    assert [difference.field for difference in found] == fields
    assert all(d.blocked for d in found if d.field in ("nft", "DHCP", "bridge", "VRF"))


@pytest.mark.parametrize(
    ("before", "reached"),
    [
        ("session [default=1] pam_permit.so\n", False),
        ("session sufficient pam_permit.so\n", False),
        ("session [success=done default=ignore] pam_permit.so\n", False),
        ("session [default=1] pam_permit.so\nsession requisite pam_deny.so\n", True),
        ("session [success=ok ignore=ignore default=bad] pam_selinux.so close\n", True),
        ("auth sufficient pam_permit.so\nsession optional pam_permit.so\n", True),
    ],
)
@pytest.mark.parametrize("name", ["sshd", "su"])
def test_a_line_of_pam_may_pass_the_limits_over(
    name: str, before: str, reached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pam_limit, "STACKS", str(tmp_path))
    monkeypatch.setattr(pam_limit, "SSHD", str(tmp_path / "none"))
    (tmp_path / name).write_text(before + "session required pam_limits.so\nsession sufficient pam_permit.so\n")
    assert (pam_limit.passed_by() == []) == reached
    (tmp_path / name).write_text(before)
    assert pam_limit.passed_by() == [f"{tmp_path}/{name} has no pam_limits.so in its session"]


def test_a_unit_that_stops_ours_is_in_the_way() -> None:
    shown = {"ConflictedBy": "shutdown.target enemy.service"}
    assert unit._enemies(shown) == ["enemy.service"]
    have = {"enabled": "enabled", "active": "active", "reload": "no", "properties": {}, "masked": False, "drop_ins": [],
            "conflicts": unit._enemies(shown), "assigned": {}, "held": False, "mark": None}  # fmt: skip
    (found,) = unit.differ({"id": "u", "kind": "unit", "unit": "u.service"}, value(have))
    assert "enemy.service conflicts with u.service" in found.blocked


def test_a_path_that_breaks_lines_hides_no_mount() -> None:
    odd = "a\x0cb\x85c\u2028d\re"
    text = f"1 0 0:1 / /{odd} rw - fuse x rw\n2 0 0:2 / /run/secrets rw,noexec - tmpfs tmpfs rw,size=1k\n"
    assert [(each["path"], each["type"]) for each in mountinfo.parse(text)] == [
        (f"/{odd}", "fuse"),
        ("/run/secrets", "tmpfs"),
    ]
