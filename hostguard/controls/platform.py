"""What a host must be, and no tool can make of it: checks only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from hostguard.control import (
    Area,
    Context,
    Control,
    JudgingControl,
    Reference,
    Verdict,
    Weakening,
    article,
    manual,
    never,
    nist,
    pci,
    soc2,
)
from hostguard.policy import Platform
from hostguard.status import Severity

STA_UNSYNC = 0x40  # linux/timex.h
TIME_ERROR = 5
X86_FLAGS, ARM_FEATURES = "flags", "Features"


def _platform(context: Context) -> Platform:
    if context.policy.platform is None:
        raise ValueError("the policy has no section `platform`: its controls must not be asked")
    return context.policy.platform


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: 1.1.1w is (1, 1, 1), 6.1.0-42-amd64 is (6, 1, 0)."""
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def at_least(have: str, want: str) -> bool:
    left, right = version(have), version(want)
    width = max(len(left), len(right))
    return left + (0,) * (width - len(left)) >= right + (0,) * (width - len(right))


def graded(level: Literal["required", "preferred", "off"], holds: bool, expected: str, actual: str) -> Verdict:
    """A `preferred` check that does not hold is reported with severity low; one that is off is not made."""
    if level == "off":
        return Verdict("not_applicable", expected, "off in the policy")
    if holds:
        return Verdict("pass", expected, actual)
    if level == "preferred":
        return Verdict("fail", f"{expected} (preferred)", actual, Severity.LOW, preferred=True)
    return Verdict("fail", expected, actual)


def below(key: str) -> Callable[[Context], Iterator[Weakening]]:
    """A floor of the policy's own that lies below the article's, which holds where the policy says nothing."""

    def weakened(context: Context) -> Iterator[Weakening]:
        own, floor = str(getattr(_platform(context), key)), str(Platform.model_fields[key].default)
        if not at_least(own, floor):
            yield Weakening(("platform", key), own, f"below {floor}")

    return weakened


def _file(path: str) -> Mapping[str, Any]:
    return {"collect": "text", "path": path}


def judge_aes(context: Context, said: Mapping[str, Any]) -> Verdict:
    text = said["cpuinfo"] or ""
    per_cpu = [line.split() for line in text.splitlines() if line.startswith((X86_FLAGS, ARM_FEATURES))]
    expected = "the AES instructions of the CPU (AES-NI, ARMv8 AES)"
    if not per_cpu:
        return Verdict("unknown", expected, "/proc/cpuinfo lists no features on this architecture")
    # One core without them is enough to make a handshake slow there.
    lacking = sum("aes" not in words for words in per_cpu)
    actual = f"aes on all {len(per_cpu)} CPUs" if not lacking else f"no aes on {lacking} of {len(per_cpu)} CPUs"
    return graded(_platform(context).aes, not lacking, expected, actual)


def judge_kernel(context: Context, said: Mapping[str, Any]) -> Verdict:
    want, have = _platform(context).kernel_min, said["uname"][2]
    return Verdict("pass" if at_least(have, want) else "fail", f"≥ {want}", have)


def judge_openssl(context: Context, said: Mapping[str, Any]) -> Verdict:
    want = _platform(context).openssl_min
    binary, library = said["openssl"]["binary"], said["openssl"]["library"]
    expected = f"≥ {want}, the binary and the library"
    actual = f"binary {binary or 'not installed'}; library {library or 'not found'}"
    if not binary and not library:
        return Verdict("unknown", expected, actual)
    found = [text for text in (binary, library) if text]
    if not all(text.startswith("OpenSSL") for text in found):
        return Verdict("unknown", expected, actual)
    return Verdict("pass" if all(at_least(text, want) for text in found) else "fail", expected, actual)


def judge_stale(_context: Context, said: Mapping[str, Any]) -> Verdict:
    stale = said["stale"]
    expected = "no process runs on with an OpenSSL that was replaced"
    if stale:
        who = ", ".join(f"{row['command']} ({row['pid']})" for row in stale[:5])
        return Verdict("fail", expected, f"{len(stale)} do: {who}")
    return Verdict("pass", expected, "none does")


def judge_cpus(context: Context, said: Mapping[str, Any]) -> Verdict:
    want, have = _platform(context).cpu_min, said["cpus"]
    return Verdict("pass" if have >= want else "fail", f"≥ {want} CPUs", str(have))


def judge_fips(context: Context, said: Mapping[str, Any]) -> Verdict:
    state = (said["fips"] or "0").strip()
    return graded(_platform(context).fips, state == "1", "the kernel in FIPS mode", f"fips_enabled = {state}")


def judge_clock(context: Context, said: Mapping[str, Any]) -> Verdict:
    clock = said["clock"]
    kept = clock["code"] != TIME_ERROR and not clock["status"] & STA_UNSYNC
    error = clock["maxerror"] / 1e6
    actual = f"synchronised, error at most {error:.3f} s" if kept else "not synchronised (STA_UNSYNC)"
    return graded(_platform(context).clock_sync, kept, "the kernel's clock is synchronised", actual)


PREREQUISITES = article("Environment Prerequisites")
PARAMETERS = article("Parameters")
INTRODUCTION = article("Introduction")


def _check(
    name: str, title: str, severity: Severity, text: tuple[str, str], asks: Mapping[str, Any], judges: Any,
    evidence: str, *references: Reference, weakened: Callable[[Context], Iterable[Weakening]] = never,
) -> JudgingControl:  # fmt: skip
    return JudgingControl(
        id=f"platform.{name}",
        title=title,
        severity=severity,
        rationale=text[0],
        remediation=text[1],
        references=references,
        asks=lambda _context: asks,
        judges=judges,
        evidence=evidence,
        weakened=weakened,
    )


CONTROLS: tuple[Control, ...] = (
    _check(
        "aes",
        "Every CPU has AES instructions",
        Severity.MEDIUM,
        (
            "Every TLS record is encrypted. Without AES instructions that costs several times the CPU time, and "
            "look-ups in tables whose timing can tell of the key. One core without them is enough to be slow there.",
            "Run on a CPU with AES-NI or the ARMv8 AES extension, and let the hypervisor pass the flag to the guest.",
        ),
        {"cpuinfo": _file("/proc/cpuinfo")},
        judge_aes,
        "/proc/cpuinfo",
        PARAMETERS,
        INTRODUCTION,
    ),
    _check(
        "kernel",
        "The running kernel is no older than the policy allows",
        Severity.HIGH,
        (
            "The article asks for Linux 4.18 or later (`platform.kernel_min`). A version is a floor for features, not "
            "a patch level: distributions mend old versions, and their package lists tell of holes.",
            "Upgrade the distribution's kernel, and reboot into it.",
        ),
        {"uname": {"collect": "uname"}},
        judge_kernel,
        "uname(2)",
        PREREQUISITES,
        weakened=below("kernel_min"),
    ),
    _check(
        "openssl",
        "OpenSSL is no older than the policy allows, the program and the library",
        Severity.HIGH,
        (
            "TLS 1.3 came with OpenSSL 1.1.1 (`platform.openssl_min`); upstream has mended nothing before 3.0 for the "
            "public since September 2023, a distribution may. The program and the library can differ, and services use "
            "the library.",
            "Upgrade the distribution's packages of OpenSSL (on Debian openssl and libssl).",
        ),
        {"openssl": {"collect": "openssl"}},
        judge_openssl,
        "openssl version; OpenSSL_version(3)",
        PREREQUISITES,
        weakened=below("openssl_min"),
    ),
    _check(
        "openssl-running",
        "No process runs on with a replaced OpenSSL",
        Severity.MEDIUM,
        (
            "An upgrade replaces the library's file; a process that had it open runs on with the old code and its "
            "holes.",
            "Restart the services named (needrestart lists them too).",
        ),
        {"stale": {"collect": "stale-libraries", "names": ["libcrypto", "libssl"]}},
        judge_stale,
        "/proc/*/maps",
        article("Environment Prerequisites", "the version that counts is the one in memory"),
        pci(
            "6.3.3", "a patch protects once the processes run it; that it was installed is for the package list to show"
        ),
        soc2("CC7.1", "a process that runs on with a hole that was found and mended"),
        nist("SI-2", "an update is in force when the old code is gone from memory"),
    ),
    _check(
        "cpus",
        "There are as many CPUs as the policy asks for",
        Severity.LOW,
        (
            "On a single core (`platform.cpu_min`, 2 if left out) a burst of TLS handshakes holds up everything else.",
            "Give the host more CPUs.",
        ),
        {"cpus": {"collect": "cpus"}},
        judge_cpus,
        "sysconf(_SC_NPROCESSORS_ONLN)",
        PARAMETERS,
    ),
    _check(
        "fips",
        "The kernel is in FIPS mode",
        Severity.HIGH,
        (
            "Who has promised validated modules (to a government, in a contract) needs the kernel and the TLS library "
            "in FIPS mode; this shows the kernel's. PCI DSS and SOC 2 ask for strong cryptography and name no FIPS. "
            "Certificates of FIPS 140-2 are historical since September 2026: look for 140-3.",
            "Run a distribution that has validated modules (RHEL: fips=1 at installation; Ubuntu: `pro enable "
            "fips-updates`; Debian has none), and see that the proxy's TLS library is one of them.",
        ),
        {"fips": _file("/proc/sys/crypto/fips_enabled")},
        judge_fips,
        "/proc/sys/crypto/fips_enabled",
        PREREQUISITES,
        nist("SC-13", "where FIPS-validated cryptography is the kind that was chosen; of the kernel alone"),
    ),
    _check(
        "clock-sync",
        "The clock is synchronised",
        Severity.HIGH,
        (
            "Signed requests carry a time, and certificates have a first and a last day. The kernel knows whether a "
            "daemon keeps its clock, whichever it is.",
            "Run chrony, systemd-timesyncd or ntpd, and let it reach its servers (`egress.time_servers`).",
        ),
        {"clock": {"collect": "adjtimex"}},
        judge_clock,
        "adjtimex(2)",
        INTRODUCTION,
        pci("10.6.1"),
        nist("SC-45"),
        manual("adjtimex(2)"),
    ),
)

AREA = Area(
    name="platform",
    controls=CONTROLS,
    least={},
    without="lower the floor under `platform`, or set it to `off` where the key takes that",
    role="platform_checks",
    does="What the host must be; checks only",
    reads=("waivers",),
)
