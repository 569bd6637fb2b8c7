"""What a policy may say: one frozen class a section.

The text below a field says what it is for: `python -m hostguard.ansible.role_docs` makes the roles' documents of it.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from hostguard.policy.grammar import (
    Account,
    Accounts,
    Bytes,
    Cidrs,
    Cipher,
    ControlPattern,
    Day,
    Field_,
    FilePath,
    FolderPath,
    HeaderName,
    HeaderPrefix,
    HostName,
    HostPattern,
    Hosts,
    IPAddress,
    KeptAt,
    Key,
    Level,
    MediaType,
    Method,
    Mode,
    Name,
    Port,
    Ports,
    PrintableWord,
    Protocol,
    ProviderName,
    Schema,
    SearchDomain,
    SecretName,
    Service,
    Sha256,
    SliceName,
    Url,
    Version,
    distinct,
    duration,
    either,
    factor,
    filled,
    held_port,
    line,
    long_duration,
    number,
    percent,
    share,
    sysctl_value,
    tls_version,
    truth,
    whole,
)

Duration = Annotated[float, PlainValidator(duration)]
LongDuration = Annotated[float, PlainValidator(long_duration)]
HeldPort = Annotated[int, PlainValidator(held_port)]
Count = Annotated[int, PlainValidator(whole(1, 10_000_000))]
TlsVersion = Annotated[Literal["1.2", "1.3"], PlainValidator(tls_version)]


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


class Tls(Section):
    """Of every connection to a provider. No key turns the verification off."""

    min: TlsVersion = "1.2"
    """The oldest version that will do."""
    max: TlsVersion = "1.3"
    """The newest version that is offered."""
    ciphers: Annotated[tuple[Cipher, ...], BeforeValidator(filled), AfterValidator(distinct)] = (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
    )
    """Cipher suites of TLS 1.2, in order of preference; those of 1.3 are not chosen."""


class Metrics(Section):
    """A listener that answers `GET /metrics` and nothing else."""

    listen: HeldPort
    """Its TCP port on `address`."""
    users: Accounts
    """Accounts that may read them."""


class Load(Section):
    """What a provider must carry; `p99` in seconds."""

    peak_rps: Annotated[float, PlainValidator(number(0, 10_000_000))]
    """The highest number of requests a second to it that was ever seen."""
    p99: Annotated[float, PlainValidator(duration)]
    """The 99th percentile of its latency."""


class Timeouts(Section):
    """In seconds."""

    connect: Duration = 0.25
    """Until a connection to the provider stands, its TLS too."""
    try_: Duration = Field(default=2.0, alias="try")
    """Until one try has its whole answer."""
    total: Duration | None = None
    """Until the application has its answer, all tries and waits in it; left out, the tries' time."""
    idle: Duration = 60.0
    """After which an unused connection is closed: less than the provider's own."""


class Breaker(Section):
    """The most of each that may be under way at once; one more is refused with 503, flag UO."""

    requests: Count | None = None
    """Requests under way; left out, Little's law."""
    connections: Count | None = None
    """Connections to the provider; left out, one a request (http2: one for a hundred)."""
    pending: Count | None = None
    """Requests that wait for a connection; left out, those that arrive while one is made."""
    retries: Count | None = None
    """Tries beside the first; left out, as many as requests."""


class Outlier(Section):
    """When a region is left alone; times in seconds."""

    consecutive_5xx: Annotated[int, PlainValidator(whole(1, 1000))] = 5
    """Failures in a row after which it is ejected."""
    interval: Duration = 10.0
    """How often the ejected are looked at again."""
    ejection: Duration = 30.0
    """How long the first ejection lasts; the next ones last longer."""
    percent: Annotated[int, PlainValidator(whole(1, 100))] = 100
    """How many of its regions may be ejected at once, in percent."""


class Retry(Section):
    """When a request is sent again."""

    tries: Annotated[int, PlainValidator(whole(1, 10))] | None = None
    """All tries of a request: 1 is never again; left out, 4, with `stream` 1."""
    wait_max: Duration | None = None
    """The longest Retry-After that is waited for, in whole seconds; left out, 4s, at most `total`."""
    safe: Annotated[tuple[Method, ...], AfterValidator(distinct)] = ("GET", "HEAD", "OPTIONS")
    """Methods that may reach the provider twice: they are sent again after a 5xx and a reset too."""
    idempotency_header: HeaderName | None = None
    """A request that has this header may reach it twice, whatever its method."""
    timeouts: Annotated[bool, PlainValidator(truth)] = True
    """Whether a safe request is sent again after its try timed out, or was reset: Envoy has one switch for both."""


class Payload(Section):
    """What a request and its answer may be; sizes in bytes."""

    request_max: Bytes = 10 * 2**20
    """The longest body of a request: a longer one is refused with 413."""
    response_max: Bytes = 10 * 2**20
    """The longest body of an answer: of a longer one the application sees nothing but 500."""
    schema_: Schema | None = Field(default=None, alias="schema")
    """A JSON Schema for the body of each 2xx answer: itself, or the path of its file beside the policy's."""
    validate_max: Bytes | None = None
    """The longest body that is held against the schema: a longer one is refused; left out, 1M, at most
    `response_max`."""
    types: Annotated[tuple[MediaType, ...], BeforeValidator(filled), AfterValidator(distinct)] = ("application/json",)
    """The media types of answers that the schema is for."""
    stream: Annotated[bool, PlainValidator(truth)] = False
    """Whether answers are handed on as they come, without a limit of their size."""


class Objective(Section):
    """What alerts are measured by."""

    p99: Duration | None = None
    """The 99th percentile of the latency; left out, that of the load, within 500ms and 2s."""
    errors: Annotated[float, PlainValidator(share)] = 0.01
    """The share of requests that may fail."""


class TokenServer(Section):
    """OAuth 2.0 client credentials (RFC 6749, 4.4): the gateway asks for a token, and asks anew before it ends.
    Name and secret go in the form: Envoy knows no other way (1.40)."""

    url: Url
    """Where tokens are asked for: https, at one of the provider's `hosts` and `ports`."""
    client_id: PrintableWord
    """The name that the gateway has there; the secret is what it proves it with."""
    scopes: Annotated[tuple[PrintableWord, ...], AfterValidator(distinct)] = ()
    """What the token is to be good for."""


class Credential(Section):
    """What the gateway adds to each request, so that no application has it."""

    secret: SecretName
    """A name of `secrets.agent.secrets`, or of `secrets.files`."""
    header: HeaderName = "Authorization"
    """The header that it is sent in; what an application sends there is taken away."""
    prefix: HeaderPrefix = ""
    """What stands before it in the header, such as `"Bearer "`; left out, nothing."""
    oauth2: TokenServer | None = None
    """A server that gives tokens for the secret; left out, the secret itself is sent."""
    sign: Annotated[Literal["none", "hmac-sha256"], PlainValidator(either("none", "hmac-sha256"))] = "none"
    """`hmac-sha256` is refused: Envoy has no filter that signs a request by it."""


class Upstream(Section):
    """A provider behind the gateway: its entry in `egress.providers` opens the firewall and the resolver for it."""

    host: HostName | None = None
    """The name that is asked first, one of its `hosts`; may be left out where there is one only."""
    port: Port | None = None
    """One of its `ports`; may be left out where there is one only."""
    fallback: Annotated[tuple[HostName, ...], AfterValidator(distinct)] = ()
    """Further regions, in order, each one of its `hosts`."""
    users: Accounts
    """Accounts that may use it."""
    listen: HeldPort | None = None
    """A TCP port on `address`, of its own; left out, none."""
    group: Account | None = None
    """The group that may use its socket /run/hostguard-gateway/NAME/http.sock; left out, there is no socket."""
    protocol: Annotated[Literal["auto", "http1", "http2"], PlainValidator(either("auto", "http1", "http2"))] = "auto"
    """What is spoken with the provider; `auto` is what it chooses (ALPN)."""
    load: Load | None = None
    """What it must carry; left out, its share of the capacity."""
    timeouts: Timeouts = Timeouts()
    """How long each part of a request may take."""
    breaker: Breaker = Breaker()
    """How much may be under way at once."""
    outlier: Outlier = Outlier()
    """When a region that fails is left alone."""
    retry: Retry = Retry()
    """When a request is sent again."""
    payload: Payload = Payload()
    """What a request and its answer may be."""
    credential: Credential | None = None
    """The key that is added to its requests; left out, none."""
    client_certificate: SecretName | None = None
    """The secret with the certificate and the key that the gateway shows to it (mTLS); left out, none."""
    objective: Objective = Objective()
    """What alerts are measured by."""


class Gateway(Section):
    """The egress proxy; `buffer` and `heap_max` in bytes, `drain` in seconds."""

    manage: Annotated[bool, PlainValidator(truth)] = True
    """Whether hostguard configures the proxy and runs it; `false` only judges one that somebody else configures."""
    admin: FilePath | None = None
    """The Unix socket of the other's admin interface, under `manage: false`."""
    program: FilePath = "/usr/bin/envoy"
    """The Envoy of the host: hostguard downloads none."""
    sha256: Sha256 | None = None
    """What its file must be, checked before each start; left out, any."""
    version_min: Version = "1.40"
    """The oldest Envoy that will do."""
    address: IPAddress = ipaddress.IPv4Address("127.0.0.84")
    """The loopback address of its ports, its own."""
    workers: Annotated[int, PlainValidator(whole(1, 256))] | None = None
    """Its threads; left out, the `cpu_quota` of its slice rounded up, else `platform.cpu_min`, at most 4."""
    ca: FilePath = "/etc/ssl/certs/ca-certificates.crt"
    """The certificates by which every provider is verified."""
    tls: Tls = Tls()
    """The TLS that is spoken with providers."""
    connections_max: Annotated[int, PlainValidator(whole(1, 10_000_000))] | None = None
    """The most connections of applications at once; left out, twice the requests of all breakers, or half the files."""
    heap_max: Bytes | None = None
    """The memory past which it refuses requests; left out, 80 % of its slice's, else what its connections need."""
    buffer: Bytes = 32 * 2**10
    """What each of a request's two connections may buffer, from 8K to 1M."""
    log: Annotated[Literal["failures", "all", "off"], PlainValidator(either("failures", "all", "off"))] = "failures"
    """Which requests are logged: no 2xx and slower than the objective, all, or none."""
    metrics: Metrics | None = None
    """Who may read its metrics; left out, nobody."""
    drain: Duration = 10.0
    """How long an instance goes on with its requests once another has taken over."""
    providers: dict[ProviderName, Upstream] = Field(default_factory=dict)
    """What it leads to: names of `egress.providers`."""


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


class AgentAuth(Section):
    """How the agent logs in; each method takes the keys that are its own."""

    method: Annotated[
        Literal["approle", "cert", "aws", "jwt"], PlainValidator(either("approle", "cert", "aws", "jwt"))
    ] = "approle"
    """approle, cert, aws or jwt."""
    mount: KeptAt | None = None
    """Where the server has this method; left out, auth/ and the method's name."""
    role_id: FilePath | None = None
    """approle: the file of its role_id."""
    secret_id: FilePath | None = None
    """approle: the file of its secret_id, or of the token that wraps it."""
    wrapped_by: KeptAt | None = None
    """approle: the path that the response-wrapped secret_id must come from (auth/approle/role/NAME/secret-id); left
    out, the file holds it unwrapped."""
    certificate: FilePath | None = None
    """cert: the file of the client certificate."""
    key: FilePath | None = None
    """cert: the file of its key."""
    role: PrintableWord | None = None
    """cert, aws, jwt: the role at the server."""
    token: FilePath | None = None
    """jwt: the file of the token."""


class Stored(Section):
    """A secret of the server: a key, or a certificate with its own."""

    path: KeptAt
    """Where the server has it; of a KV store of version 2 with its `data`: secret/data/payments."""
    new: Field_ | None = None
    """The field of the key; left out, `key`, where there is no certificate."""
    old: Field_ | None = None
    """The field of the key before it, for as long as the provider takes it; left out, `previous`, where there is no
    certificate."""
    certificate: Field_ | None = None
    """The field of a certificate with its chain."""
    key: Field_ | None = None
    """The field of that certificate's key."""
    group: Account | None = None
    """The group that may read it; left out, the gateway's."""


class AgentSocket(Section):
    """For applications that fetch their own secrets. They may ask for all that the agent may."""

    group: Account
    """The group that may ask, at /run/hostguard-agent/socket/agent.sock."""


class SecretAgent(Section):
    """OpenBao's or Vault's agent, as `secrets.owner`; `poll` and `overlap` in seconds."""

    program: FilePath = "/usr/bin/bao"
    """The agent of the host: bao or vault. hostguard downloads none."""
    sha256: Sha256 | None = None
    """What its file must be, checked before each start; left out, any."""
    server: Url
    """The server: a destination of `egress.services` for the agent's account."""
    ca: FilePath | None = None
    """The certificates by which the server is verified; needed with https."""
    auth: AgentAuth
    """How it logs in."""
    poll: Duration = 60.0
    """How often the secrets are asked for, from 1s to 10m."""
    overlap: LongDuration | None = None
    """How long the providers take an old key beside the new one; left out, not looked at."""
    secrets: dict[SecretName, Stored] = Field(default_factory=dict)
    """The secrets, by a name of your choice: the folder below `path` that they are written to."""
    socket: AgentSocket | None = None
    """A Unix socket for applications that ask themselves; left out, none."""


class SecretFiles(Section):
    """Files that somebody else renames into place."""

    new: FilePath | None = None
    """The file of the key."""
    old: FilePath | None = None
    """The file of the key before it; left out, there is none."""
    certificate: FilePath | None = None
    """The file of a certificate with its chain."""
    key: FilePath | None = None
    """The file of that certificate's key."""


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
    agent: SecretAgent | None = None
    """What fetches secrets from a server and keeps them fresh; left out, nothing does."""
    files: dict[SecretName, SecretFiles] = Field(default_factory=dict)
    """Secrets below `path` that somebody else writes, by a name of your choice."""


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
    gateway: Gateway | None = None
    """The proxy that stands between applications and providers."""
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
