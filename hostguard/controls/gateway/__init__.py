"""The gateway: the proxy between applications and providers, and all that makes it hold.

wanted: what apply puts there. program, sandbox, ports, admin: the process, and who reaches it. verification, breaker,
limits, certificates: its configuration, as the running proxy tells it (dump), ours or somebody else's. credentials: the
files that it sends from. runtime: what it does now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hostguard.control import (
    Area,
    Control,
    JudgingControl,
    Reference,
    Verdict,
    WantingControl,
    article,
    manual,
    nist,
    pci,
    soc2,
)
from hostguard.controls.gateway import (
    admin,
    asked,
    breaker,
    certificates,
    credentials,
    limits,
    ports,
    program,
    runtime,
    sandbox,
    verification,
    wanted,
)
from hostguard.policy.gateway import Gateway
from hostguard.status import Severity

Asks = Callable[[Gateway], Mapping[str, Any]]
Judges = Callable[[Gateway, Mapping[str, Any]], Verdict]
APPLY = "Run `hostguard apply`."
ADMIN = "the admin's /{}, on its Unix socket"


def judging(
    id: str,
    title: str,
    severity: Severity,
    rationale: str,
    remediation: str,
    *references: Reference,
    asks: Asks,
    judges: Judges,
    evidence: str,
) -> JudgingControl:
    """One that is judged by the gateway's derived values."""
    return JudgingControl(
        id=id,
        title=title,
        severity=severity,
        rationale=rationale,
        remediation=remediation,
        references=references,
        asks=lambda context: asks(asked.of(context)),
        judges=lambda context, said: judges(asked.of(context), said),
        evidence=evidence,
    )


def of_envoy(*targets: str) -> Asks:
    return lambda g: asked.envoy(g, *targets)


PROXY = article("Implementation Logic", "requests go through the egress proxy")
STEP_3 = article("Step 3: Configuring the Egress Proxy and Circuit Breaker")
WAYS_ROUND = article("Step 1: Egress Filtering and Firewall Hardening", "an application reaches its proxy and no more")

CONTROLS: tuple[Control, ...] = (
    judging(
        "gateway.program",
        "The proxy that runs is the program that the policy names, and root alone can change it",
        Severity.HIGH,
        "All that goes to providers passes this one program, with their keys. Whoever may write it, or a folder on the "
        "way to it, reads all of that; a file that was replaced since is not what runs; and an Envoy that is too old "
        "lacks what the gateway is made of. hostguard installs none.",
        "Install the Envoy that you mean (apt.envoyproxy.io, or a file that you checked), as root's and 0755; put its "
        "SHA-256 into `gateway.sha256`; then `systemctl reload hostguard-gateway`, which hands over without a gap.",
        STEP_3,
        nist("SI-7", "where `gateway.sha256` pins it"),
        manual("proc_pid_exe(5)"),
        asks=program.asks,
        judges=program.judges,
        evidence="owner and mode of the file and of the folders to it, its SHA-256 and --version, /proc/PID/exe",
    ),
    WantingControl(
        id="gateway.instance",
        title="One gateway runs, started with what the policy says, and a boot starts it",
        severity=Severity.HIGH,
        rationale="Applications have no other way to their providers. Envoy reads its bootstrap once, so what counts "
        "is what the running one was started with. What must change there is started beside the old one, which ends "
        "when its requests have.",
        remediation=APPLY,
        references=(STEP_3, manual("systemd.service(5)")),
        wants=wanted.instance,
    ),
    WantingControl(
        id="gateway.routes",
        title="The running gateway has the policy's providers, and has refused none",
        severity=Severity.HIGH,
        rationale="Envoy watches its folder for renames: it overlooks a file that was edited in place, keeps what it "
        "had where it refuses one, and tells nobody. So it is asked what is in force.",
        remediation=APPLY,
        references=(STEP_3,),
        wants=wanted.routes,
    ),
    WantingControl(
        id="gateway.separation",
        title="Only the accounts of a provider reach its port",
        severity=Severity.HIGH,
        rationale="A port on loopback is open to every account of a host, and its answers are signed with a provider's "
        "key. Rules refuse all others at once, root and other providers' accounts too, under `egress.mode: observe` as "
        "well: nobody used this address before. What another device brings for it is dropped: where route_localnet is "
        "set, the link and every container reach 127/8.",
        remediation=APPLY + " Where another tool keeps putting its rules first, order it before hostguard.",
        references=(
            WAYS_ROUND,
            pci("7.2.5", "an account reaches the providers that are its own, and no other"),
            soc2("CC6.7", "of what is sent to providers"),
            nist("AC-4", "account by account"),
            nist("AC-6", "not every account needs every provider"),
            manual("iptables-extensions(8)"),
        ),
        wants=wanted.separation,
    ),
    judging(
        "gateway.sockets",
        "Only the group of a provider reaches its socket, and the gateway answers there",
        Severity.HIGH,
        "A socket's own mode is set after it was made, and Envoy does not apply a new one to a listener that lives: "
        "the folder is what guards it. Whoever may put a folder in its place is handed what applications send.",
        "Run `hostguard apply`, or `systemd-tmpfiles --create`; then restart what else answers there.",
        WAYS_ROUND,
        pci("7.2.5", "an account reaches the providers that are its own, and no other"),
        nist("AC-6", "not every account needs every provider"),
        manual("unix(7)"),
        asks=ports.asks_of_sockets,
        judges=ports.judges_sockets,
        evidence="owner, group and mode of each folder; unix_diag, /proc/PID/fd",
    ),
    judging(
        "gateway.ports-held",
        "No other account can take a provider's port",
        Severity.HIGH,
        "While the gateway is down whoever listens on its port is handed what applications send, keys of their own "
        "included. Below net.ipv4.ip_unprivileged_port_start the kernel refuses that to accounts without privileges.",
        "End what listens there; take lower values of net.ipv4.ip_unprivileged_port_start out of sysctl.d.",
        WAYS_ROUND,
        manual("ip(7), ip_unprivileged_port_start"),
        asks=ports.asks_of_ports,
        judges=ports.judges_ports,
        evidence=f"{ports.FIRST_FREE}, /proc/net/tcp",
    ),
    judging(
        "gateway.admin",
        "Nobody but the proxy's account reaches its admin",
        Severity.HIGH,
        "Envoy's admin asks for no password, and whoever reaches it may end the proxy, drain it or read its settings. "
        "On a TCP port, as the article asks it, that is every account. A Unix socket and `allow_paths` bound it.",
        "Give the admin a Unix socket with mode 0600 in a folder that is its account's alone, and list in "
        "`allow_paths` what is asked for.",
        article("Step 4: Observability and Health Inspection", "it asks the admin; on a socket instead of port 9901"),
        nist("AC-6", "not every account needs it"),
        asks=admin.asks,
        judges=admin.judges,
        evidence=f"{ADMIN.format('config_dump')}; owner and mode of it; /proc/net/tcp",
    ),
    judging(
        "gateway.sandbox",
        "The running gateway may do little beside its work",
        Severity.MEDIUM,
        "It reads what strangers send, and holds keys. What a unit takes from it binds a process only if that was "
        "started by it: so the running one is looked at, and not the unit.",
        "`systemctl restart hostguard-gateway`, and end what answers at its socket beside it.",
        article("Optimization And Hardening", "isolate the integration service"),
        nist("AC-6", "of the process"),
        manual("systemd.exec(5)"),
        asks=sandbox.asks,
        judges=sandbox.judges,
        evidence="/proc/PID/status, limits and mountinfo of whoever answers at the admin's socket",
    ),
    judging(
        "gateway.verification",
        "Every provider is known by its certificate's CA and name, over TLS that is not too old",
        Severity.HIGH,
        "Envoy checks neither unless it is told both: with the article's cluster a certificate that ended, another "
        "site's and another CA's were all answered with 200. SNI is no check.",
        "For each cluster set `trusted_ca`, `auto_sni_san_validation` (or `match_typed_subject_alt_names`) and "
        "`tls_minimum_protocol_version`. Where hostguard manages the gateway: `hostguard apply`.",
        STEP_3,
        article("Parameters", "TLS 1.2 or 1.3"),
        pci("4.2.1", "where card data is sent; that a certificate was revoked is not asked"),
        nist("SC-8", "towards providers"),
        asks=of_envoy("config_dump"),
        judges=verification.judges,
        evidence=ADMIN.format("config_dump"),
    ),
    judging(
        "gateway.breaker",
        "A provider that fails is cut off",
        Severity.HIGH,
        "Under Envoy's own panic threshold of 50 % a provider with one endpoint is never cut off: of 30 requests all "
        "30 reached one that answered 503, while its statistics told of an ejection. Without limits for a cluster, 3 "
        "retries are all that it gets, however many requests fail.",
        "Set `outlier_detection`, `common_lb_config.healthy_panic_threshold: {value: 0}` and `circuit_breakers`. Where "
        "hostguard manages the gateway: `hostguard apply`.",
        STEP_3,
        PROXY,
        nist("SC-5", "of a provider that fails; what it costs the host is bounded"),
        asks=of_envoy("config_dump"),
        judges=breaker.judges,
        evidence=ADMIN.format("config_dump"),
    ),
    judging(
        "gateway.limits",
        "Every request ends, and its body and the connections are bounded",
        Severity.MEDIUM,
        "A route with `timeout: 0s` waits for ever for a provider that hangs, with a thread of the application. Bodies "
        "and connections without a bound are memory without one.",
        "Give each route a timeout, a `body_size_limit` filter or a `request_body_buffer_limit`, and the overload "
        "manager a `global_downstream_max_connections`. Where hostguard manages the gateway: `hostguard apply`.",
        article("Parameters", "the time-out and the largest payload"),
        PROXY,
        nist("SC-5", "by bounds for each request"),
        asks=of_envoy("config_dump"),
        judges=limits.judges,
        evidence=ADMIN.format("config_dump"),
    ),
    judging(
        "gateway.certificates",
        "No certificate ends soon",
        Severity.HIGH,
        "When one ends, of the provider, of its authority or our own, every request fails from that second on. A "
        f"provider's is known from the last request that was logged. Below {certificates.EARLY} days it is told as "
        f"low, below {certificates.LEAST} as high.",
        "Renew the one that is named; tell the provider of its own. A renewed file is taken up where it is renamed "
        "into its place.",
        article("Dependency Fault Lines", "certificates that end"),
        pci("4.2.1", "where card data is sent"),
        asks=certificates.asks,
        judges=certificates.judges,
        evidence=f"{ADMIN.format('certs')}, the file of authorities, the access log's ends of certificates",
    ),
    judging(
        "gateway.credentials",
        "The gateway has the keys that it sends, and nobody else may read them",
        Severity.HIGH,
        "Where a key is missing or empty, the gateway answers every request of that provider with 503 and sends "
        "nothing. Who may read the file is the provider's customer too, past the gateway and all of "
        "its limits. No file is opened for this: its size, its times and its modes tell.",
        "`hostguard audit` of secrets.agent-fresh says whether they still come; what somebody else writes must be "
        "renamed into place, 0440 in a folder 2750, of the group of the gateway's account. What failed in the past is "
        "forgotten with `systemctl reload hostguard-gateway`.",
        article("Step 2: Automated Secret Injection and Rotation", "the proxy adds the key"),
        PROXY,
        pci("7.2.5", "who can read a provider's key can use the account there"),
        nist("AC-6", "only the gateway needs them"),
        asks=credentials.asks,
        judges=credentials.judges,
        evidence=f"size, times, modes and groups of the files and the folders to them; {ADMIN.format('stats')}",
    ),
    judging(
        "gateway.resolution",
        "The gateway sends to where its providers' names lead now",
        Severity.MEDIUM,
        "A proxy that keeps an address after its name has moved sends requests to where the provider is no more. The "
        "article compares dig with the proxy's connections; this is the same look.",
        "`systemctl restart hostguard-gateway`; for somebody else's Envoy set `respect_dns_ttl`, and STRICT_DNS with "
        "the host's own resolver.",
        article("Dependency Fault Lines", "its look at dig and at what the proxy is connected to"),
        asks=runtime.asks_of_resolution,
        judges=runtime.judges_resolution,
        evidence=f"{ADMIN.format('clusters')}; getent ahosts, as the proxy's account",
    ),
    judging(
        "gateway.capacity",
        "There is room for a burst",
        Severity.MEDIUM,
        "A breaker that is nearly full refuses the next burst, and so does a process at its heap or its open files. "
        "This is a look at one moment: a metric tells more.",
        "Raise `capacity` or the provider's `load`, from which these limits follow.",
        article("Introduction", "enough file descriptors, no pile of connections"),
        soc2("A1.1", "use is compared with the limits that follow from the peak rate"),
        asks=runtime.asks_of_capacity,
        judges=runtime.judges_capacity,
        evidence=f"{ADMIN.format('clusters')}; /proc/PID/status, limits, fd",
    ),
    WantingControl(
        id="gateway.log",
        title="The gateway's log does not fill the disk",
        severity=Severity.LOW,
        rationale="A log that nobody rotates fills its disk when a provider fails, which is when there is most to log. "
        "It holds no path, no header and no body.",
        remediation=APPLY,
        references=(article("Troubleshooting Matrix", "its access log is where resets are looked for"),
                    manual("logrotate(8)")),
        wants=wanted.log,
    ),
)  # fmt: skip

AREA = Area(
    name="gateway",
    controls=CONTROLS,
    least={"providers": {"provider": {"users": ["app"], "listen": 84, "group": "app"}}},
    without="leave the provider out of `gateway.providers`, or `gateway` out as a whole: the next apply gives it back",
    role="gateway",
    does="The proxy between applications and providers",
    reads=("capacity", "egress", "limits", "platform", "secrets", "slices"),
)
