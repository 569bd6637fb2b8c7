"""The policy file: every error at once, each where it stands; and nothing but errors for what is no policy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from hostguard.policy.load import LoadedPolicy, PolicyError, Problem, load

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
Load = Callable[[str], LoadedPolicy]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    def write_and_load(text: str | bytes) -> LoadedPolicy:
        path = tmp_path / "policy.yml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path)

    return write_and_load


@pytest.fixture
def problems(read: Load) -> Callable[[str], list[Problem]]:
    def refused(text: str) -> list[Problem]:
        with pytest.raises(PolicyError) as error:
            read(text)
        return list(error.value.problems)

    return refused


Problems = Callable[[str], list[Problem]]


def test_the_example_says_what_the_contract_says() -> None:
    policy = load(EXAMPLE).policy
    assert policy.capacity is not None
    assert (policy.capacity.peak_rps, policy.capacity.p99, policy.capacity.headroom) == (2000, 0.8, 2.0)
    assert policy.egress is not None
    assert policy.egress.resolvers == (ip_address("10.0.0.2"),)
    assert policy.egress.providers["payments"].cidrs == (ip_network("203.0.113.5/32"), ip_network("2001:db8::5/128"))
    assert policy.egress.inbound["ssh"].ports == (22,)
    assert policy.kernel == {"net.ipv4.ip_local_port_range": "10240 65535"}
    assert policy.slices is not None
    assert (policy.slices["egress"].memory_max, policy.slices["egress"].cpu_quota) == (512 * 2**20, 150.0)
    assert policy.secrets is not None
    assert (policy.secrets.mode, policy.secrets.size) == ("0750", 16 * 2**20)
    assert policy.platform is not None
    assert (policy.platform.fips, policy.platform.aes) == ("off", "required")
    assert load(EXAMPLE).warnings == ()


def test_every_error_is_said_at_once_with_its_line(problems: Problems) -> None:
    found = problems("""\
version: 1
egres: {}
egress:
  mode: enfroce
  proxy_user: "envoy; rm -rf /"
  resolvers: [10.0.0.300, 10.0.0.2]
  providers:
    a: {cidrs: [203.0.113.5/24, 203.0.113.0/24, 203.0.113.7/32], ports: [443, 70000]}
    b: {cidrs: []}
secrets: {mode: "0755"}
""")
    assert [(problem.line, problem.key) for problem in found] == [
        (2, "egres"),
        (4, "egress.mode"),
        (5, "egress.proxy_user"),
        (6, "egress.resolvers[0]"),
        (8, "egress.providers.a.cidrs[0]"),
        (8, "egress.providers.a.ports[1]"),
        (8, "egress.providers.a.cidrs[2]"),
        (9, "egress.providers.b.cidrs"),
        (10, "secrets.mode"),
    ]
    assert found[1].found == "'enfroce'"
    assert found[1].expected == "enforce or observe"
    assert "203.0.113.0/24" in found[4].expected
    assert "capacity" in found[0].expected


HEAD = "version: 1\n"
PORTS = "net.ipv4.ip_local_port_range"


def waived(change: str) -> str:
    """A policy with one waiver, one key of which is not as it should be."""
    key = change.partition(":")[0]
    good = {"control": "kernel.*", "reason": "r", "by": "b", "expires": "2026-12-31"}
    rest = [f"{name}: {word}" for name, word in good.items() if name != key]
    return HEAD + f"waivers:\n  - {{{', '.join([change, *rest])}}}\n"


DIRECT = HEAD + "egress:\n  via: direct\n  resolvers: [10.0.0.2]\n  inbound: {ssh: {from: [10.0.0.0/8], ports: [22]}}\n"


HOST = "egress.providers.a.hosts[0]"


def named(hosts: str) -> str:
    return DIRECT + f"  providers: {{a: {{hosts: [{hosts}]}}}}\n"


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("version: 2\n", "version", "1"),
        ("egress: {}\n", "version", "a value"),
        (HEAD + "limits:\n", "limits", "its settings"),
        (HEAD + "capacity: {peak_rps: 10}\n", "capacity.p99", "a value"),
        (HEAD + "capacity: {peak_rps: 0, p99: 1s}\n", "capacity.peak_rps", "a number above 0"),
        (HEAD + "capacity: {peak_rps: yes, p99: 1s}\n", "capacity.peak_rps", "a number above 0"),
        (HEAD + "capacity: {peak_rps: .inf, p99: 1s}\n", "capacity.peak_rps", "a number above 0"),
        (HEAD + "capacity: {peak_rps: 10, p99: 800}\n", "capacity.p99", "a duration"),
        (DIRECT + "  providers: {a: {cidrs: [0.0.0.0/0]}}\n", "egress.providers.a.cidrs[0]", "the whole internet"),
        (DIRECT + "  providers: {a: {cidrs: ['::/0']}}\n", "egress.providers.a.cidrs[0]", "the whole internet"),
        (DIRECT + "  providers: {a: {cidrs: ['::ffff:1.2.3.4/128']}}\n", "egress.providers.a.cidrs[0]", "IPv4 network"),
        (DIRECT + "  providers: {a: {cidrs: ['fe80::1%eth0/128']}}\n", "egress.providers.a.cidrs[0]", "a network"),
        (DIRECT + "  providers: {a: {cidrs: [api.provider.com]}}\n", "egress.providers.a.cidrs[0]", "under `hosts`"),
        (DIRECT + "  providers: {a: {cidrs: ['*.Provider.com']}}\n", "egress.providers.a.cidrs[0]", "under `hosts`"),
        (DIRECT + "  providers: {a: {cidrs: [10.0.0.0/33]}}\n", "egress.providers.a.cidrs[0]", "at most /32"),
        (DIRECT + "  providers: {a: {cidrs: ['2001:db8::/129']}}\n", "egress.providers.a.cidrs[0]", "at most /128"),
        (DIRECT + "  providers: {a: {cidrs: [1.2.3.4/32], ports: [8000-8010]}}\n", "egress.providers.a.ports[0]",
         "port by port"),
        (DIRECT + "  providers: {a: {cidr: [1.2.3.4/32]}}\n", "egress.providers.a.cidr", "did you mean cidrs?"),
        (HEAD + "capacity: {peak_rps: 10, p99: 1s, headroom: 0.5}\n", "capacity.headroom", "from 1 to 100"),
        *[
            (HEAD + f'kernel: {{{key}: "{setting}"}}\n', f"kernel.{key}", expected)
            for key, setting, expected in (
                ("fs.file-max", "unlimited", "a whole number"),
                ("net.core.somaxconn", "lots", "a whole number"),
                ("net.core.netdev_max_backlog", "-1", "a whole number"),
                ("net.ipv4.tcp_keepalive_time", "60s", "a whole number"),
                ("net.ipv4.ip_local_reserved_ports", "8080 8081", "with commas"),
                ("net.ipv4.ip_local_reserved_ports", "99999", "with commas"),
                ("net.ipv4.ip_local_reserved_ports", "9000-8000", "with commas"),
                ("kernel.core_pattern", "${uid:root}", "without"),
                ("kernel.core_pattern", " ", "printable"),
            )
        ],
        (HEAD + "kernel: {net.ipv4.conf.eth0//x.rp_filter: 1}\n", "kernel.net.ipv4.conf.eth0//x.rp_filter", "eth0/100"),
        (DIRECT, "egress.providers", "at least one provider"),
        (DIRECT + "  providers: {a: {cidrs: 1.2.3.4/32}}\n", "egress.providers.a.cidrs", "a list"),
        (DIRECT + "  providers: {a: {cidrs: [1.2.3.4/32], ports: [443, 443]}}\n", "egress.providers.a.ports", "once"),
        (HEAD + "egress: {providers: {a: {cidrs: [1.2.3.4/32]}}}\n", "egress.proxy_user", "the account"),
        (DIRECT + "  providers: {a: {ports: [443]}}\n", "egress.providers.a", "one of them"),
        (DIRECT + "  providers: {a: {hosts: []}}\n", "egress.providers.a.hosts", "at least one"),
        (named("API.provider.com"), HOST, "in lower case"),
        (named("api.provider.com."), HOST, "a host name"),
        (named("203.0.113.5"), HOST, "a host name"),
        (named("provider"), HOST, "a host name"),
        (named('"*.com"'), HOST, "a host name"),
        (named('"api.*.com"'), HOST, "a host name"),
        (named("-a.provider.com"), HOST, "a host name"),
        (named("a_b.provider.com"), HOST, "an underscore is none"),
        (named('"api-*.provider.com"'), HOST, "a star stands for whole labels"),
        (DIRECT + "  services: {s: {cidrs: [1.2.3.4/32], ports: [1], users: [jane.doe@corp]}}\n",
         "egress.services.s.users[0]", "a local account"),
        (DIRECT + "  services: {s: {cidrs: [1.2.3.4/32], ports: [1], protocol: vrrp}}\n", "egress.services.s.protocol",
         "can't be sanctioned"),
        (named("a" * 64 + ".com"), HOST, "a host name"),
        (named(".".join(["a" * 49] * 5) + ".comm"), HOST, "a host name"),
        (named("a.com, a.com"), "egress.providers.a.hosts", "each once"),
        (named("a.com").replace("  resolvers: [10.0.0.2]\n", ""), HOST, "egress.resolvers"),
        (named('api.a.com, "*.a.com"'), "egress.providers.a.hosts[1]", "providers.a names api.a.com"),
        (named("a.com").replace("via: direct", "via: direct\n  search: [A.com]"), "egress.search[0]", "in lower case"),
        (DIRECT + "  search: [a.com]\n  providers: {a: {cidrs: [1.2.3.4/32]}}\n", "egress.search", "without `hosts`"),
        (named('"*.b.a.com", "*.a.com"'), "egress.providers.a.hosts[1]", "no overlap"),
        (named("a.com") + '  services: {s: {hosts: ["*.a.com"], ports: [1]}}\n', HOST, "can't tell them apart"),
        (named("a.com") + "  resolver_users: [x]\n  services: {s: {hosts: [b.com], ports: [1], users: [y]}}\n",
         "egress.services.s.hosts[0]", "egress.resolver_users"),
        (HEAD + "kernel: {net.ipv4.tcp_tw_recycle: 1}\n", "kernel.net.ipv4.tcp_tw_recycle", "tcp_tw_reuse"),
        (HEAD + f'kernel: {{{PORTS}: "10241 65535"}}\n', f"kernel.{PORTS}", "parity"),
        (HEAD + f'kernel: {{{PORTS}: "60000 1024"}}\n', f"kernel.{PORTS}", "two ports"),
        (HEAD + "kernel: {../../etc/passwd: 1}\n", "kernel.../../etc/passwd", "a sysctl's name"),
        (HEAD + "kernel: {fs.nr_open: 70000}\nlimits: {nofile: 80000}\n", "kernel.fs.nr_open", "80000"),
        *[
            (HEAD + f'kernel: {{{key}: "{setting}"}}\n', f"kernel.{key}", expected)
            for key, setting, expected in (
                ("net.ipv4.conf.all.arp_ignore", 8, "0 to 3: with 8 this host answers no question"),
                ("net.ipv4.conf.eth0.arp_ignore", 4, "networking/ip-sysctl.rst"),
                ("net.ipv4.neigh.default.mcast_solicit", 0, "at least 1: with 0 this host asks nobody"),
                ("net.ipv6.neigh.eth0.mcast_solicit", 0, "arp(7)"),
                ("net.ipv4.neigh.default.gc_thresh3", 127, "at least 128"),
                ("net.ipv6.neigh.default.gc_thresh3", 1, "the most neighbours"),
                ("net.ipv6.route.max_size", 16, "before Linux 6.3"),
                ("net.ipv4.ip_default_ttl", 5, "32 to 255"),
                ("net.ipv6.conf.all.hop_limit", 1, "nearer than all others"),
                ("net.ipv4.tcp_mem", "1 2 3", "third number"),
                ("net.netfilter.nf_conntrack_max", 100, "at least 1024"),
                ("net.nf_conntrack_max", 500000, "net.netfilter.nf_conntrack_max"),
                ("kernel.pid_max", 301, "at least 4096"),
                ("kernel.threads-max", 20, "at least 1024"),
                ("kernel.pty.max", 1, "at least 256"),
                ("fs.file-max", 100, "at least 8192"),
                ("vm.max_map_count", 10, "at least 1024"),
            )
        ],
        (HEAD + "kernel: {vm.overcommit_memory: 2, vm.overcommit_ratio: 0}\n", "kernel.vm.overcommit_ratio",
         "at least 10"),
        (HEAD + "kernel: {vm.overcommit_memory: 2, vm.overcommit_kbytes: 0}\n", "kernel.vm.overcommit_kbytes", "KiB"),
        (HEAD + "limits: {units: [envoy]}\n", "limits.units[0]", "a service unit"),
        (HEAD + "slices: {a-b: {memory_max: 1M}}\n", "slices.a-b", "a dash nests"),
        (HEAD + "slices: {a: {memory_max: 1M, memory_high: 2M}}\n", "slices.a.memory_high", "at most memory_max"),
        (HEAD + "slices: {a: {memory_max: 5000}}\n", "slices.a.memory_max", "a multiple of the page size"),
        (HEAD + "slices: {a: {units: [x.service]}}\n", "slices.a", "memory_max"),
        (HEAD + "secrets: {path: /run}\n", "secrets.path", "an absolute path of its own"),
        (HEAD + "secrets: {path: /run/../etc}\n", "secrets.path", "an absolute path of its own"),
        (HEAD + "secrets: {path: /usr/lib/secrets}\n", "secrets.path", "an absolute path of its own"),
        (HEAD + "platform: {kernel_min: 4.18}\n", "platform.kernel_min", "in quotes"),
        (HEAD + "platform: {fips: preferred}\n", "platform.fips", "off or required"),
        (waived("control: somaxconn"), "waivers[0].control", "a control, such as"),
        (waived("control: kernel.somax*"), "waivers[0].control", "a control, such as"),
        (waived("hosts: []"), "waivers[0].hosts", "at least one"),
        (waived("hosts: db1"), "waivers[0].hosts", "a list"),
        (waived("hosts: [a, a]"), "waivers[0].hosts", "each once"),
        (waived("hosts: [a b]"), "waivers[0].hosts[0]", "the name of a host"),
        (waived("reason: ' '"), "waivers[0].reason", "one line of text"),
        (waived('reason: "a\\nb"'), "waivers[0].reason", "one line of text"),
        (waived("reason: " + "x" * 201), "waivers[0].reason", "at most 200"),
        (waived("expires: 2026-02-30"), "waivers[0].expires", "a date"),
        (waived("expires: 20261231"), "waivers[0].expires", "a date"),
        (waived("until: 2026-12-31"), "waivers[0].until", "control, expires, hosts, reason"),
        (HEAD + "waivers: [{control: kernel.*, reason: r, by: b}]\n", "waivers[0].expires", "a value"),
        (HEAD + "waivers:\n", "waivers", "a list"),
        (HEAD + "waivers: {control: kernel.*}\n", "waivers", "a list"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(problems: Problems, text: str, key: str, expected: str) -> None:
    found = problems(text)
    assert [problem.key for problem in found] == [key]
    assert expected in found[0].expected


@pytest.mark.parametrize(
    "hosts",
    ["xn--bcher-kva.example", '"*.a.com", a.com', "1.a.com", '"*.a.b.com", c.b.com', ".".join(["a" * 49] * 5) + ".com"],
)
def test_names_that_are_meant(read: Load, hosts: str) -> None:
    read(named(hosts))


def test_overlap_is_a_matter_of_account_and_port(read: Load, problems: Problems) -> None:
    def services(first: str, second: str) -> str:
        return (
            DIRECT
            + f"  services:\n    a: {{cidrs: [10.1.0.0/16], {first}}}\n    b: {{cidrs: [10.1.2.0/24], {second}}}\n"
        )

    (found,) = problems(services("ports: [1, 2], users: [x]", "ports: [2, 3], users: [x]"))
    assert (found.key, found.line) == ("egress.services.b.cidrs[0]", 8)
    assert "10.1.0.0/16" in found.expected
    for first, second in (
        ("ports: [1], users: [x]", "ports: [2], users: [x]"),
        ("ports: [1], users: [x]", "ports: [1], users: [z]"),
        ("ports: [1], users: [x]", "ports: [1], users: [x], protocol: udp"),
    ):
        read(services(first, second))


def test_a_waiver_stands_once_for_a_host(problems: Problems, read: Load) -> None:
    text = HEAD + "waivers:\n"
    for hosts in ("hosts: [a, b], ", "hosts: [c, b], ", "", ""):
        text += f"  - {{control: kernel.fin-timeout, {hosts}reason: r, by: b, expires: 2026-12-31}}\n"
    assert [(found.line, found.key, found.found) for found in problems(text)] == [
        (4, "waivers[1].hosts[1]", "kernel.fin-timeout on b"),
        (6, "waivers[3].control", "kernel.fin-timeout"),
    ]
    read("\n".join(text.splitlines()[:3]))


def test_a_date_may_be_quoted_and_a_waiver_manages_nothing(read: Load) -> None:
    for quote in ("", "'", '"'):
        policy = read(waived(f"expires: {quote}2026-12-31{quote}")).policy
        assert policy.waivers[0].expires == date(2026, 12, 31)
        assert policy.sections == ()


@pytest.mark.parametrize(
    ("key", "setting"),
    [
        ("kernel.core_pattern", "|/bin/false"),
        ("kernel.core_pattern", "/var/crash/core.%e"),
        ("kernel.core_pattern", "%p"),
        ("net.ipv4.conf.eth0/100.rp_filter", "1"),
        ("net.ipv4.ip_local_reserved_ports", "8080,8443-8450"),
    ],
)
def test_kernel_values_that_are_meant(read: Load, key: str, setting: str) -> None:
    assert read(HEAD + f'kernel: {{{key}: "{setting}"}}\n').policy.kernel == {key: setting}


def test_words_mean_what_they_look_like(read: Load) -> None:
    policy = read(HEAD + "secrets: {mode: 0750}\nplatform: {aes: off, clock_sync: off}\n").policy
    assert policy.secrets is not None
    assert policy.platform is not None
    assert (policy.secrets.mode, policy.platform.aes) == ("0750", "off")


def aliases(name: int) -> bytes:
    """Ten aliases of the line before: ten lines of them are ten thousand million values."""
    return b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 10))


BOMB = b"a: &a [x]\n" + b"".join(map(aliases, range(ord("b"), ord("l"))))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", "an empty file"),
        (b"just words", "'just words'"),
        (b"[1, 2]", "a list of 2"),
        (b"version: 1\n---\nversion: 1\n", "a second document"),
        (b"version: 1\n\xff\xfe", "byte 0xff, which is no UTF-8"),
        (b"version: 1\0", "control characters are not allowed"),
        (b"version: !!python/object/apply:os.system ['true']", "the tag"),
        (b"version: !x 1", "the tag !x"),
        (b"[" * 100_000, "nest"),  # in our words, or in those of PyYAML's own limit since 6.0.4
        (b"{a: " * 100_000, "nested more than 20 deep"),
        (b"version: *nothing", "*nothing"),
        (b"? [a, b]\n: 1\n", "as a key"),
        (b"a: 'open", "found unexpected end of stream"),
        (BOMB, "more than"),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_one_clean_error(problems: Problems, text: str, found: str) -> None:
    (problem,) = problems(text)
    assert found in problem.found


def test_a_key_that_stands_twice_is_an_error(problems: Problems) -> None:
    found = problems(HEAD + "limits: {nofile: 2048}\nlimits: {nofile: 4096}\n")
    assert [(problem.key, problem.line) for problem in found] == [("limits", 3)]


def test_refinements_merge_deep_and_replace_lists(tmp_path: Path) -> None:
    overlay = {
        "egress": {"resolvers": ["10.0.0.9"], "providers": {"other": {"cidrs": ["192.0.2.1/32"]}}},
        "platform": {"fips": False},
    }
    policy = load(EXAMPLE, [("group_vars/web", overlay)]).policy
    assert policy.egress is not None
    assert policy.egress.resolvers == (ip_address("10.0.0.9"),)
    assert set(policy.egress.providers) == {"payments", "other"}
    with pytest.raises(PolicyError) as error:
        load(EXAMPLE, [("host_vars/bar1", {"egress": {"resolvers": ["nowhere"]}})])
    (problem,) = error.value.problems
    assert (problem.file, problem.line, problem.key) == ("host_vars/bar1", 0, "egress.resolvers[0]")
    with pytest.raises(PolicyError):
        load(tmp_path / "absent.yml")


def test_parameters_that_hold_for_long_are_taken(read: Load) -> None:
    for setting in (
        *(
            "net.ipv4.conf.all.arp_ignore: 1",
            "net.ipv4.conf.all.arp_announce: 2",
            "net.ipv4.neigh.eth0.mcast_solicit: 1",
        ),
        *(
            "net.ipv4.neigh.default.gc_thresh3: 4096",
            "net.ipv4.tcp_mem: 188000 250000 376000",
            "kernel.pid_max: 4194304",
        ),
        *("net.netfilter.nf_conntrack_max: 1048576", "vm.overcommit_memory: 2", "net.ipv6.conf.all.hop_limit: 64"),
        "vm.overcommit_memory: 2, vm.overcommit_ratio: 80",
        "vm.overcommit_memory: 2, vm.overcommit_ratio: 0, vm.overcommit_kbytes: 4000000",
        *("vm.overcommit_ratio: 0", "net.netfilter.nf_conntrack_max: 0"),
    ):
        assert read(HEAD + f"kernel: {{{setting}}}\n").warnings == (), setting


def test_parameters_that_cut_some_hosts_off_late_deserve_a_word(read: Load) -> None:
    text = HEAD + "kernel:\n"
    text += "  net.ipv6.conf.default.accept_ra: 0\n  net.ipv6.conf.lo.accept_ra: 0\n  net.ipv6.conf.eth0.autoconf: 0\n"
    text += "  net.ipv6.conf.all.accept_ra: 1\n  kernel.modules_disabled: 1\n"
    warnings = read(text).warnings
    assert [(warning.key, warning.line) for warning in warnings] == [
        ("kernel.net.ipv6.conf.default.accept_ra", 3),
        ("kernel.net.ipv6.conf.eth0.autoconf", 5),
        ("kernel.kernel.modules_disabled", 7),
    ]
    assert "expire hours after" in warnings[0].expected


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("ports: [2049], users: [app]", "root, or no users at all: the kernel itself sends NFS"),
        ("ports: [3260], users: [root, app]", "root, or no users at all: the kernel itself sends iSCSI"),
        ("ports: [51820], protocol: udp, users: [root]", "no users at all: the kernel itself sends WireGuard"),
        ("ports: [4789], protocol: udp, users: [app]", "the kernel itself sends VXLAN"),
        ("ports: [2049], users: [root]", ""),
        ("ports: [2049]", ""),
        ("ports: [4789], users: [app]", ""),
    ],
)
def test_an_account_for_what_the_kernel_itself_sends_deserves_a_word(read: Load, service: str, said: str) -> None:
    text = HEAD + "egress:\n  via: direct\n  resolvers: [10.0.0.2]\n"
    text += "  inbound: {ssh: {from: [10.0.0.0/24], ports: [22]}}\n"
    text += f"  services: {{s: {{cidrs: [10.0.0.5/32], {service}}}}}\n"
    warnings = read(text).warnings
    assert [warning.key for warning in warnings] == ["egress.services.s.users"] * bool(said)
    assert all(said in warning.expected for warning in warnings)


def test_cautions_do_not_refuse(read: Load) -> None:
    keys = [
        warning.key for warning in read(HEAD + "egress: {via: direct, providers: {a: {cidrs: [1.2.3.4/32]}}}").warnings
    ]
    assert keys == ["egress.inbound", "egress.resolvers"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hostguard", *arguments], capture_output=True, text=True, check=False)


def test_the_command_line_keeps_the_contract(tmp_path: Path) -> None:
    done = run("validate", "--policy", str(EXAMPLE))
    assert (done.returncode, done.stderr) == (0, "")
    bad = tmp_path / "bad.yml"
    bad.write_text("version: 1\nlimits: {nofile: many}\nbogus: 1\n")
    for command in ("validate", "audit", "plan", "size", "rehearse"):
        done = run(command, "--policy", str(bad))
        assert (done.returncode, done.stdout) == (2, ""), command
        assert "Traceback" not in done.stderr
        assert f"{bad}:2: limits.nofile: found 'many', expected a whole number" in done.stderr
        assert f"{bad}:3: bogus: found an unknown key" in done.stderr
    assert run("audit", "--policy", str(EXAMPLE), "--format", "yaml").returncode == 2
    assert run("size", "--rps", "5").returncode == 2
    assert run("explain", "kernel.nothing").returncode == 2


def test_validate_says_all_of_several_files(tmp_path: Path) -> None:
    bad, absent = tmp_path / "bad.yml", tmp_path / "absent.yml"
    bad.write_text("version: 1\nbogus: 1\n")
    done = run("validate", str(bad), str(EXAMPLE), "-p", str(absent))
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert done.stdout.startswith(f"{EXAMPLE}: valid; ")
    assert f"{bad}:2: bogus: found an unknown key" in done.stderr
    assert f"{absent}: found " in done.stderr
    assert done.stderr.endswith("hostguard: 2 problems; nothing was touched\n")


def test_no_escape_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pipelines set, so that tools which are asked nothing colour their output."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "GITLAB_CI", "CI", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1")
    for call in (["checks"], ["explain", "egress.output"], ["size", "-p", str(EXAMPLE)], ["audit", "-p", str(EXAMPLE)],
                 ["checks", "--bogus"], ["--help"]):  # fmt: skip
        done = run(*call)
        assert done.stdout + done.stderr
        assert "\x1b" not in done.stdout + done.stderr, call


def test_init_writes_a_policy_that_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    assert run("init", str(tmp_path / "new")).returncode == 0
    policy = tmp_path / "new" / "hostguard.yml"
    assert run("validate", "-p", str(policy)).returncode == 0
    policy.write_text("mine")
    again = run("init", str(tmp_path / "new"))
    assert (again.returncode, policy.read_text()) == (2, "mine")


@pytest.mark.parametrize(
    ("service", "warned"),
    [
        ("ports: [51820], protocol: udp, users: [vpn]", "WireGuard"),
        ("ports: [2049], users: [backup]", "NFS"),
        ("ports: [51820], protocol: udp", ""),
        ("ports: [51820], users: [vpn]", ""),
        ("ports: [8200], users: [vault]", ""),
    ],
)
def test_an_account_for_what_the_kernel_itself_sends(read: Load, service: str, warned: str) -> None:
    found = read(DIRECT + f"  services: {{a: {{cidrs: [10.1.2.3/32], {service}}}}}\n").warnings
    assert [warned in warning.expected for warning in found if warning.key.endswith("users")] == [True] * bool(warned)
