"""What a policy may say: one frozen class a section.

The text below a field says what it is for: `python -m hostguard.ansible.role_docs` makes the roles' documents of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from hostguard.policy.grammar import (
    Account,
    Accounts,
    Bytes,
    Cidrs,
    ControlPattern,
    Day,
    FolderPath,
    HostPattern,
    Hosts,
    IPAddress,
    Key,
    Level,
    Mode,
    Name,
    Ports,
    Protocol,
    SearchDomain,
    Service,
    SliceName,
    Version,
    distinct,
    duration,
    either,
    factor,
    filled,
    line,
    number,
    percent,
    sysctl_value,
    whole,
)


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
