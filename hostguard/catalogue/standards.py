"""What each requirement that a control answers asks for, in a line of our own: the standard's text is the measure."""

from __future__ import annotations

from collections.abc import Mapping

from hostguard.control import ARTICLE, CIS_CONTROLS, CIS_DEBIAN, NIST, PCI, SOC2

ASKS: Mapping[str, Mapping[str, str]] = {
    ARTICLE: {
        "Introduction": "the first paragraph: AES-NI, clocks in step, enough file descriptors, no pile of connections",
        "Parameters": "the table below it: TLS 1.2 or 1.3, two cores with AES-NI, 65535 file descriptors",
        "Environment Prerequisites": "Linux 4.18, OpenSSL 1.1.1, FIPS where it is owed, no secrets in environments",
        "Implementation Logic": "least privilege for what leaves: requests go through the egress proxy",
        "Step 1: Egress Filtering and Firewall Hardening": "OUTPUT drops all but the resolver, the proxy and the "
        "provider's networks",
        "Step 2: Automated Secret Injection and Rotation": "credentials on a tmpfs, never on a disk",
        "Step 3: Configuring the Egress Proxy and Circuit Breaker": "an Envoy cluster for the provider: a connection "
        "in 250 ms, TLS, and ejected for 30 s after five 5xx",
        "Step 4: Observability and Health Inspection": "the proxy's admin is asked for the health of its clusters",
        "Dependency Fault Lines": "addresses cached beyond their TTL; ephemeral ports that run out: tcp_tw_reuse and a "
        "wider port range",
        "Troubleshooting Matrix": "open files that run out: prlimit to see it, LimitNOFILE=65535 to mend it",
        "Optimization And Hardening": "keep-alive, accept and SYN queues, a cgroup with its share of memory and CPU",
        "Admin Desk": "sockets in TIME_WAIT past 30,000: tcp_tw_reuse and a wider port range",
    },
    PCI: {
        "1.2.5": "the services, protocols and ports that are allowed are known, approved and needed",
        "1.2.8": "configuration files of network security controls are safe from others' hands, and agree with what is "
        "in force",
        "1.3.2": "only necessary traffic leaves the cardholder data environment, and all other is denied",
        "4.2.1": "card data on open networks goes to trusted, valid certificates alone, by secure versions",
        "6.3.3": "security patches are installed in time on all components",
        "7.2.5": "accounts of applications and systems have the least privileges, and only who needs them can use them",
        "8.6.2": "passwords of application and system accounts that can log in are not hard coded in scripts, "
        "configuration files or code",
        "10.6.1": "clocks are kept by time synchronisation",
    },
    SOC2: {
        "CC6.1": "logical access to protected information assets is secured by software, infrastructure, architecture",
        "CC6.6": "logical access measures against threats from outside the system's boundary",
        "CC6.7": "information is sent, moved and removed by and to authorised users and processes only",
        "CC7.1": "changes to configurations that open a weakness, and newly found vulnerabilities, are detected",
        "CC7.2": "components are monitored for anomalies that point to malicious acts, disasters and errors",
        "A1.1": "capacity and its use are watched and evaluated, so that demand can be met",
    },
    CIS_DEBIAN: {
        "3.3.10": "TCP SYN cookies are on",
        "4.1.1": "a single firewall is in use",
        "4.4.2.3": "iptables has rules for outbound and established connections (a manual recommendation)",
        "4.4.3.3": "ip6tables has rules for outbound and established connections (a manual recommendation)",
    },
    CIS_CONTROLS: {
        "3.3": "access permissions to data follow the need to know",
        "4.4": "a firewall on servers",
    },
    NIST: {
        "AC-4": "approved authorisations for the flow of information are enforced",
        "AC-6": "least privilege for users and processes",
        "CM-6": "settings are defined, implemented, and changes to them watched (d)",
        "CM-6(1)": "settings are managed, applied and verified by an automated mechanism",
        "IA-5": "authenticators are protected from disclosure and modification (g)",
        "IA-5(7)": "no unencrypted static authenticator is embedded in applications or other static storage",
        "SC-5": "the effects of denial of service are limited",
        "SC-5(2)": "capacity is managed to limit the effects of flooding",
        "SC-6": "resources stay available by quota or priority",
        "SC-7(5)": "network traffic is denied by default and allowed by exception",
        "SC-7(12)": "boundary protection on the host itself",
        "SC-8": "information that is transmitted is protected from disclosure and change",
        "SC-13": "the kinds of cryptography that the use demands are implemented",
        "SC-28": "information at rest is protected",
        "SC-45": "system clocks are synchronised",
        "SI-2": "flaws are corrected, and the updates for them installed",
        "SI-7": "tools find changes of software that nobody authorised (a)",
    },
}
