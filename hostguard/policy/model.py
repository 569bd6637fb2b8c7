"""What a policy may say: one frozen class a section, and a strict grammar for every word that reaches a host.

A word that passes here is safe to stand in a rule, a unit file, a path or an argument: each grammar is a full
match over letters, digits and a few marks, none of which ends a word or a line in any of them.

The text below a field says what it is for: `python -m hostguard.ansible.role_docs` makes the roles' documents of it.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic_core import PydanticCustomError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def unexpected(expected: str) -> PydanticCustomError:
    """The error of a value that is not what was expected."""
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


PATTERNS: dict[Callable[[Any], Any], str] = {}
"""What a validator of text matches, for who describes the policy."""


def grammar(pattern: str, expected: str) -> Callable[[Any], str]:
    compiled = re.compile(pattern, re.ASCII)

    def check(found: Any) -> str:
        if not isinstance(found, str) or not compiled.fullmatch(found):
            raise unexpected(expected)
        return found

    PATTERNS[check] = pattern
    return check


LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
NAME = re.compile(rf"(?:\*\.)?(?:{LABEL}\.)+(?=[a-z]){LABEL}", re.ASCII | re.IGNORECASE)
ADDRESS_LETTERS = re.compile(r"[0-9a-fA-F.:]+(/[0-9]{1,3})?", re.ASCII)


def network(found: Any) -> Network:
    expected = "a network, such as 203.0.113.0/24 or 2001:db8::5/128"
    if isinstance(found, str) and NAME.fullmatch(found):
        raise unexpected(f"{expected}; a name belongs under `hosts`")
    # ipaddress takes whatever follows a % as a zone: letters that no rule may see.
    if not isinstance(found, str) or not ADDRESS_LETTERS.fullmatch(found):
        raise unexpected(expected)
    address_, _, length = found.partition("/")
    longest = 128 if ":" in address_ else 32
    if length and int(length) > longest:
        raise unexpected(f"a prefix of at most /{longest}")
    try:
        meant = ipaddress.ip_network(found)
    except ValueError:
        pass  # it has host bits, or is no network at all
    else:
        return _native(meant)
    try:
        meant = ipaddress.ip_network(found, strict=False)
    except ValueError:
        raise unexpected(expected) from None
    raise unexpected(f"no host bits: {meant}, or {found.partition('/')[0]}/{meant.max_prefixlen}")


def _native(meant: Network) -> Network:
    if isinstance(meant, ipaddress.IPv6Network) and meant.network_address.ipv4_mapped and meant.prefixlen >= 96:
        raise unexpected("the IPv4 network itself: mapped addresses never stand in a packet")
    return meant


def address(found: Any) -> Address:
    if isinstance(found, str) and ADDRESS_LETTERS.fullmatch(found):
        try:
            return ipaddress.ip_address(found)
        except ValueError:
            pass
    raise unexpected("an address, such as 10.0.0.2 or 2001:db8::2")


def port(found: Any) -> int:
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,5} *[-:] *[0-9]{1,5}", found, re.ASCII):
        raise unexpected("a port from 1 to 65535: a range is written port by port, [8000, 8001, 8002]")
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= 65535:
        raise unexpected("a port from 1 to 65535")
    return found


def whole(least: int, most: int) -> Callable[[Any], int]:
    def check(found: Any) -> int:
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise unexpected(f"a whole number from {least} to {most}")
        return found

    return check


def number(above: float, most: float) -> Callable[[Any], float]:
    def check(found: Any) -> float:
        if isinstance(found, bool) or not isinstance(found, int | float) or not above < found <= most:
            raise unexpected(f"a number above {above:g}, at most {most:g}")
        return float(found)

    return check


def factor(least: float, most: float) -> Callable[[Any], float]:
    def check(found: Any) -> float:
        if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
            raise unexpected(
                f"a number from {least:g} to {most:g}: below {least:g} a host is smaller than its own peak"
            )
        return float(found)

    return check


SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def duration(found: Any) -> float:
    """`800ms`, `1.5s` as seconds."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(us|ms|s|m)", found) if isinstance(found, str) else None
    seconds = float(match[1]) * SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= 3600:
        raise unexpected("a duration up to an hour with its unit, such as 800ms or 1.5s")
    return seconds


SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def size(found: Any) -> int:
    """`512M` as bytes; units are powers of 1024, as systemd reads them."""
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)", text, re.ASCII) if isinstance(text, str) else None
    count = int(match[1]) * SIZES[match[2]] if match else 0
    if not 4096 <= count <= 2**50:
        raise unexpected("a size from 4K to 1024T, such as 512M")
    if count % 4096:
        raise unexpected(f"a multiple of the page size (4096 bytes), such as {count // 4096 * 4096}")
    return count


def percent(found: Any) -> float:
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,2})?)%", found, re.ASCII) if isinstance(found, str) else None
    share = float(match[1]) if match else 0.0
    if not 1 <= share <= 100_000:
        raise unexpected("percent of one CPU, such as 150% (one and a half)")
    return share


def mode(found: Any) -> str:
    if not isinstance(found, str) or not re.fullmatch(r"0[0-7]{3}", found, re.ASCII):
        raise unexpected('a mode of four octal digits, in quotes, such as "0750"')
    if found[3] != "0":
        raise unexpected(f'no rights for other accounts: "{found[:3]}0"')
    return found


# A tmpfs there would hide what the system itself needs.
NOT_THERE = (
    "/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr",
    "/run/dbus", "/run/lock", "/run/systemd", "/run/udev", "/run/user", "/var/lib/hostguard", "/etc/systemd",
    "/etc/hostguard", "/var/run", "/var/lock",
)  # fmt: skip
BUSY = ("/var/lib", "/var/log", "/var/cache", "/var/spool", "/run/netns")


def path(found: Any) -> str:
    expected = "an absolute path of its own below a folder such as /run: /run/secrets"
    if not isinstance(found, str) or not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){2,8}", found, re.ASCII):
        raise unexpected(expected)
    if any((found + "/").startswith(taken + "/") for taken in NOT_THERE) or found in BUSY:
        raise unexpected(expected)
    return found


def either(*words: str, else_: str = "") -> Callable[[Any], Any]:
    """One of some words; `else_` says what to do with another one. YAML elsewhere (an Ansible inventory) reads a bare
    `off` as false."""

    def check(found: Any) -> str:
        text = "off" if found is False else found
        if text not in words:
            raise unexpected(", ".join(words[:-1]) + " or " + words[-1] + (else_ if isinstance(found, str) else ""))
        return str(text)

    return check


def sysctl_value(found: Any) -> str:
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    if (
        not isinstance(text, str)
        or not re.fullmatch(r"[ -~]{1,200}", text, re.ASCII)
        or not text.strip()
        or "${" in text
    ):
        raise unexpected("a number, or one line of at most 200 printable characters of ASCII, without `${`")
    return " ".join(text.split())


def line(most: int) -> Callable[[Any], str]:
    """A line for people: it stands in reports, and nowhere on a host."""

    def check(found: Any) -> str:
        if not isinstance(found, str) or not found.strip() or not found.isprintable() or len(found) > most:
            raise unexpected(f"one line of text, at most {most} characters")
        return found.strip()

    return check


def date(found: Any) -> datetime.date:
    if isinstance(found, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", found, re.ASCII):
        try:
            return datetime.date.fromisoformat(found)
        except ValueError:
            pass
    raise unexpected("a date, such as 2026-12-31")


def host_name(found: Any) -> str:
    """RFC 1123, with a dot in it, and a last label that is no number: that one would be an address."""
    name = found.removeprefix("*.") if isinstance(found, str) else ""
    if len(name) > 253 or not re.fullmatch(rf"(?:{LABEL}\.)+(?=[a-z]){LABEL}", name, re.ASCII):
        hint = ""
        if "_" in name:
            hint = "; an underscore is none of a host's name (RFC 1123): name its networks under `cidrs`"
        elif "*" in name:
            hint = "; a star stands for whole labels, at the front: name each, or all below the domain"
        raise unexpected(
            f'a host name in lower case, such as api.provider.com, or "*.provider.com" for all below it{hint}'
        )
    return str(found)


def account(found: Any) -> str:
    """A local account's: it stands in rules, units and sets' names."""
    if not isinstance(found, str) or not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", found, re.ASCII):
        of_a_directory = isinstance(found, str) and re.fullmatch(r"[A-Za-z0-9._@\\-]{1,64}", found, re.ASCII)
        hint = (
            "; one of a directory can't stand in a rule: run the service as a local account" if of_a_directory else ""
        )
        raise unexpected(f"an account's name: a-z, 0-9, _ and -, at most 32{hint}")
    return found


def filled(found: Any) -> Any:
    if isinstance(found, list | tuple | dict) and not found:
        raise unexpected("at least one")
    return found


def distinct(found: tuple[Any, ...]) -> tuple[Any, ...]:
    seen: set[Any] = set()
    for item in found:
        if item in seen:
            raise unexpected(f"each once ({item} is there twice)")
        seen.add(item)
    return found


Account = Annotated[
    str,
    PlainValidator(account),
]
Name = Annotated[str, PlainValidator(grammar(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a name of letters, digits, _ . -"))]
SliceName = Annotated[
    str, PlainValidator(grammar(r"[a-z0-9][a-z0-9_]{0,31}", "a name of a-z, 0-9 and _ (a dash nests slices)"))
]
Service = Annotated[
    str,
    PlainValidator(grammar(r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,200}\.service", "a service unit, such as envoy.service")),
]
Key = Annotated[
    str,
    PlainValidator(
        grammar(
            r"[a-z0-9]+(?:\.[A-Za-z0-9_-]{1,32}(?:/[A-Za-z0-9_-]{1,32}){0,3}){1,8}",
            "a sysctl's name with dots, such as net.core.somaxconn; a dot of a device's is a slash: eth0/100",
        )
    ),
]
Version = Annotated[
    str,
    PlainValidator(grammar(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}[a-z]?", 'a version in quotes, such as "4.18"')),
]
ControlPattern = Annotated[
    str,
    PlainValidator(
        grammar(
            r"[a-z]{1,32}\.(\*|[a-z0-9][a-z0-9_-]{0,63})", "a control, such as kernel.somaxconn, or kernel.* for all"
        )
    ),
]
HostPattern = Annotated[
    str,
    PlainValidator(
        grammar(r"[A-Za-z0-9_.:@/*?\[\]!-]{1,253}", 'the name of a host, or a shell pattern in quotes, such as "db*"')
    ),
]
Day = Annotated[datetime.date, PlainValidator(date)]
Cidr = Annotated[Network, PlainValidator(network)]
IPAddress = Annotated[Address, PlainValidator(address)]
Port = Annotated[int, PlainValidator(port)]
Cidrs = Annotated[tuple[Cidr, ...], BeforeValidator(filled)]
Ports = Annotated[tuple[Port, ...], BeforeValidator(filled), AfterValidator(distinct)]
Accounts = Annotated[tuple[Account, ...], BeforeValidator(filled), AfterValidator(distinct)]
HostName = Annotated[str, PlainValidator(host_name)]
SearchDomain = Annotated[
    str,
    PlainValidator(
        grammar(rf"(?:{LABEL}\.)*{LABEL}", "a domain in lower case, such as corp.example, at most 253 letters")
    ),
]
Hosts = Annotated[tuple[HostName, ...], BeforeValidator(filled), AfterValidator(distinct)]
Level = Annotated[Literal["required", "preferred", "off"], PlainValidator(either("required", "preferred", "off"))]
OTHERWISE = "; another protocol (VRRP, ESP, SCTP) can't be sanctioned: keep a host that needs one out of `egress`"
Protocol = Annotated[Literal["tcp", "udp"], PlainValidator(either("tcp", "udp", else_=OTHERWISE))]
Bytes = Annotated[int, PlainValidator(size)]
Mode = Annotated[str, PlainValidator(mode)]
FolderPath = Annotated[str, PlainValidator(path)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Capacity(Section):
    """What the host must carry; `p99` in seconds."""

    peak_rps: Annotated[float, PlainValidator(number(0, 10_000_000))]
    """The highest number of requests a second to third parties that was ever seen."""
    p99: Annotated[float, PlainValidator(duration)]
    """The 99th percentile of the third parties' latency."""
    headroom: Annotated[float, PlainValidator(factor(1, 100))] = 2.0
    """Room above that peak, as a factor: 1 is none."""


class Provider(Section):
    cidrs: Cidrs = ()
    """The networks that it answers from, IPv4 and IPv6; may be left out where it has `hosts`."""
    hosts: Hosts = ()
    """Its names, `*.` before one for all below it: whatever the resolvers say that they lead to."""
    ports: Ports = (443,)
    """TCP ports."""


class Service_(Section):
    cidrs: Cidrs = ()
    """The networks that it answers from, IPv4 and IPv6; may be left out where it has `hosts`."""
    hosts: Hosts = ()
    """Its names, `*.` before one for all below it: whatever the resolvers say that they lead to."""
    ports: Ports
    """Ports of its protocol."""
    users: Accounts | None = None
    """Accounts that may reach it; left out, any."""
    protocol: Protocol = "tcp"
    """The transport protocol."""


class Inbound(Section):
    from_: Cidrs = Field(alias="from")
    """The networks that may connect in."""
    ports: Ports
    """Ports of the host that they connect to."""
    protocol: Protocol = "tcp"
    """The transport protocol."""


class Egress(Section):
    mode: Annotated[Literal["enforce", "observe"], PlainValidator(either("enforce", "observe"))] = "enforce"
    """Under `enforce` what is not named is dropped; under `observe` it is logged and let through."""
    via: Annotated[Literal["proxy", "direct"], PlainValidator(either("proxy", "direct"))] = "proxy"
    """Who reaches the providers: under `proxy` the account `proxy_user` alone, under `direct` any process."""
    proxy_user: Account | None = None
    """The account that the egress proxy runs as; needed under `via: proxy`."""
    resolvers: tuple[IPAddress, ...] = ()
    """The name servers that are asked, and no others; `hosts` need one."""
    resolver_users: Accounts | None = None
    """Accounts that may ask the resolvers; left out, any. Where there are `hosts`: that may ask the host's own, which
    alone asks them."""
    search: Annotated[tuple[SearchDomain, ...], AfterValidator(distinct)] = ()
    """Domains that short names are looked up in, where the policy has `hosts`: /etc/resolv.conf is then hostguard's."""
    time_servers: tuple[IPAddress, ...] = ()
    """The NTP servers."""
    providers: dict[Name, Provider] = Field(default_factory=dict)
    """The third parties, by a name of your choice."""
    services: dict[Name, Service_] = Field(default_factory=dict)
    """Other sanctioned destinations, by a name of your choice."""
    inbound: dict[Name, Inbound] = Field(default_factory=dict)
    """Who may connect in, and so be answered, by a name of your choice: your own way in belongs here."""
    containers: Annotated[Literal["deny", "same"], PlainValidator(either("deny", "same"))] = "deny"
    """What forwarded traffic of containers may do: nothing, or the same as the host's own."""
    frames: Annotated[Literal["hold", "allow"], PlainValidator(either("hold", "allow"))] = "hold"
    """Frames from packet sockets, which pass no chain of iptables: held below them (Linux 5.16), or left alone."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every name that the policy allows, in order. With any of them the host's own resolver answers for all."""
        ways: tuple[Provider | Service_, ...] = (*self.providers.values(), *self.services.values())
        return tuple(sorted({host for way in ways for host in way.hosts}))


class Limits(Section):
    nofile: Annotated[int, PlainValidator(whole(1024, 1_048_576_000))] | None = None
    """Open files of a process; left out, derived from the capacity."""
    units: Annotated[tuple[Service, ...], AfterValidator(distinct)] = ()
    """Services that get the limit as a drop-in of their own."""


class Slice(Section):
    """`memory_max` and `memory_high` in bytes, `cpu_quota` in percent of one CPU."""

    units: Annotated[tuple[Service, ...], AfterValidator(distinct)] = ()
    """Services that run in it."""
    memory_max: Bytes | None = None
    """Memory past which the kernel kills; left out, derived from the capacity."""
    memory_high: Bytes | None = None
    """Memory past which the kernel throttles and reclaims."""
    cpu_quota: Annotated[float, PlainValidator(percent)] | None = None
    """CPU time, in percent of one CPU."""
    tasks_max: Annotated[int, PlainValidator(whole(1, 4_194_304))] | None = None
    """Processes and threads."""


class Secrets(Section):
    """`size` in bytes."""

    path: FolderPath = "/run/secrets"
    """Where the tmpfs is mounted."""
    size: Bytes = 16 * 2**20
    """How much it may hold."""
    mode: Mode = "0750"
    """The mode of its root folder."""
    owner: Account = "root"
    """The account that it belongs to."""
    group: Account = "root"
    """The group that it belongs to."""


class Platform(Section):
    kernel_min: Version = "4.18"
    """The oldest kernel that will do."""
    openssl_min: Version = "1.1.1"
    """The oldest OpenSSL that will do, the binary and the library."""
    cpu_min: Annotated[int, PlainValidator(whole(1, 65536))] = 2
    """The fewest CPUs that will do."""
    aes: Level = "required"
    """AES instructions on every CPU."""
    clock_sync: Level = "required"
    """A clock that is kept."""
    fips: Annotated[Literal["off", "required"], PlainValidator(either("off", "required"))] = "off"
    """The kernel in FIPS mode."""


class Waiver(Section):
    """A risk that somebody accepts: a control that may fail, until a day. The audit alone heeds it."""

    control: ControlPattern
    """The control that may fail; `kernel.*` is every one of an area."""
    hosts: Annotated[tuple[HostPattern, ...], BeforeValidator(filled), AfterValidator(distinct)] | None = None
    """Hosts where it may, as names or shell patterns; left out, everywhere."""
    reason: Annotated[str, PlainValidator(line(200))]
    """Why it may."""
    by: Annotated[str, PlainValidator(line(100))]
    """Who accepts the risk."""
    expires: Day
    """The last day on which it holds (UTC)."""


NO_SECTIONS = ("version", "waivers")
"""Keys under which nothing of a host is managed."""


class Policy(Section):
    """A whole policy. A section that is None was left out, and is not managed."""

    version: Literal[1]
    """The version of this format; may be left out of an inventory's variables."""
    capacity: Capacity | None = None
    """What the host must carry: limits that are not set are derived from it."""
    egress: Egress | None = None
    """What the host may reach, and who may connect in."""
    kernel: dict[Key, Annotated[str, PlainValidator(sysctl_value)]] | None = None
    """Kernel parameters (sysctl) by their name with dots: these override what is derived; `{}` for what is."""
    limits: Limits | None = None
    """Open files of sessions, services and what runs already."""
    slices: dict[SliceName, Slice] | None = None
    """Limits for groups of services, by a name of your choice: `egress` is hostguard-egress.slice."""
    secrets: Secrets | None = None
    """A tmpfs for credentials that never reaches a disk."""
    platform: Platform | None = None
    """What the host must be; checks only."""
    waivers: tuple[Waiver, ...] = ()
    """Controls that may fail: the audit reports them as waived, and by whom, until the day comes."""

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections that the policy manages."""
        named = (name for name in type(self).model_fields if name not in NO_SECTIONS)
        return tuple(name for name in named if getattr(self, name) is not None)
