"""Who brings an allowlist into force: each from the files that its user would keep, by the programs he would call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.allowlist import PORT, among
from tests.bench.figure import Unmeasured

REPOSITORY = Path(__file__).parents[3]
UNPACKED = REPOSITORY / ".tools"
PARTS = ("etc/ufw", "etc/default", "lib/ufw", "usr/sbin", "usr/share/ufw", "usr/lib/python3/dist-packages/ufw")
MOST_PROVIDERS = 1000
LIMIT = 60.0
"""Seconds after which nobody waits any longer."""


class NotHad(Exception):
    """There is no figure of it here; the text is what stands in its place."""


# iptables-nft hands over a table in one message, and only the machine's own root may make a socket take a long one.
TOO_LONG = "Message too long"


@dataclass(frozen=True)
class Step:
    """Programs to call one after another: each with the file that it reads, or None."""

    calls: Sequence[tuple[Sequence[str], Path | None]]
    env: Sequence[tuple[str, str]] = ()

    def take(self, limit: float) -> tuple[float, list[str]]:
        """The seconds that it takes, and what each program says. Raises NotHad past the limit."""
        environment, said = {**os.environ, **dict(self.env)}, []
        start = time.perf_counter()
        for argv, file in self.calls:
            left = start + limit - time.perf_counter()
            with (file or Path(os.devnull)).open(encoding="utf-8") as text:
                try:
                    done = subprocess.run(argv, stdin=text, capture_output=True, text=True, env=environment,
                                          check=False, timeout=max(left, 0.001))  # fmt: skip
                except subprocess.TimeoutExpired:
                    raise NotHad(f"over {limit:g} s") from None
            if TOO_LONG in done.stderr:
                raise NotHad("needs root")
            if done.returncode:
                raise Unmeasured(f"`{' '.join(argv)[-80:]}` ended with {done.returncode}: {done.stderr.strip()[-300:]}")
            said.append(done.stdout)
        return time.perf_counter() - start, said


class Contender(Protocol):
    """`name` is short, `label` what a reader sees. `add` is one more network for who has the others already."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    def load(self, cidrs: Sequence[str], folder: Path) -> Step: ...

    def add(self, cidrs: Sequence[str], one: str, folder: Path) -> Step: ...


class Hostguard:
    name, label = "hostguard", "hostguard"

    def load(self, cidrs: Sequence[str], folder: Path) -> Step:
        path = among(cidrs, min(MOST_PROVIDERS, len(cidrs)), folder / "policy.yml")
        return Step([([sys.executable, "-m", "tests.bench.scale.ours", str(path)], None)])

    def add(self, cidrs: Sequence[str], one: str, folder: Path) -> Step:
        return self.load([one, *cidrs], folder)


def words(cidr: str) -> list[str]:
    return ["-d", cidr, "-p", "tcp", "--dport", str(PORT), "-j", "ACCEPT"]


class RulePerCidr:
    """One rule a CIDR behind the one that lets open connections go on, by one restore a family."""

    def __init__(self, backend: str) -> None:
        self.name, self.label = backend, f"a rule a CIDR, iptables-{backend}"
        self.backend = backend

    def program(self, cidr: str, what: str = "") -> str:
        return f"{'ip6' if ':' in cidr else 'ip'}tables-{self.backend}{what}"

    def load(self, cidrs: Sequence[str], folder: Path) -> Step:
        by_program: dict[str, list[str]] = {}
        for cidr in cidrs:
            by_program.setdefault(self.program(cidr, "-restore"), []).append(cidr)
        calls = []
        for program, members in by_program.items():
            path = folder / program
            rules = ["-o lo -j ACCEPT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]
            if program.startswith("ip6"):
                rules.append("-p ipv6-icmp -j ACCEPT")
            rules += [" ".join(words(cidr)) for cidr in members]
            lines = ["*filter", ":OUTPUT DROP [0:0]", *(f"-A OUTPUT {rule}" for rule in rules), "COMMIT"]
            path.write_text("\n".join(lines) + "\n", encoding="ascii")
            calls.append(([program], path))
        return Step(calls)

    def add(self, cidrs: Sequence[str], one: str, folder: Path) -> Step:  # noqa: ARG002 - others need them
        return Step([([self.program(one), "-A", "OUTPUT", *words(one)], None)])


class Ufw:
    """Debian's ufw out of its package, in a folder of its own, which it has options for.

    To have it write 100,000 rules one by one would take days: of each family it writes one, as `ufw allow out` does,
    and the block that it wrote is repeated for all others. It reads them itself when it is switched on.
    """

    name, label = "ufw", "ufw"

    def load(self, cidrs: Sequence[str], folder: Path) -> Step:
        root = folder / "ufw"
        shutil.rmtree(root, ignore_errors=True)
        for part in PARTS:
            if not (UNPACKED / part).is_dir():
                raise Unmeasured("ufw's package is not unpacked into .tools: run `make bench`, which does it")
            shutil.copytree(UNPACKED / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "ufw-"))
        own = root / "etc/ufw"
        # What the package's own script does when it is installed.
        for file in (*(root / "usr/share/ufw/iptables").iterdir(), *(root / "usr/share/ufw").glob("*.init")):
            shutil.copy(file, own)
        shutil.copy(root / "usr/share/ufw/ufw.conf", own)
        defaults = root / "etc/default/ufw"
        # The kernel parameters that it would set stand in a file that it looks for outside of its folder.
        defaults.write_text(defaults.read_text(encoding="utf-8") + "IPT_SYSCTL=\n", encoding="utf-8")
        for wanted in (["default", "deny", "outgoing"], *(self._allow(cidr) for cidr in self._first(cidrs))):
            self._call(root, *wanted).take(60)
        for version, file in ((4, own / "user.rules"), (6, own / "user6.rules")):
            members = [cidr for cidr in cidrs if (":" in cidr) == (version == 6)]
            if members:
                self._repeat(file, members)
        return self._call(root, "--force", "enable")

    def add(self, cidrs: Sequence[str], one: str, folder: Path) -> Step:  # noqa: ARG002 - others need them
        return self._call(folder / "ufw", *self._allow(one))

    def _first(self, cidrs: Sequence[str]) -> list[str]:
        first = {":" in cidr: cidr for cidr in reversed(cidrs)}
        return list(first.values())

    def _allow(self, cidr: str) -> list[str]:
        return ["allow", "out", "proto", "tcp", "to", cidr, "port", str(PORT)]

    def _repeat(self, file: Path, members: Sequence[str]) -> None:
        before, mark, after = file.read_text(encoding="utf-8").partition("### END RULES ###")
        head, start, block = before.partition("### tuple ###")
        if block.count(members[0].removesuffix("/32")) != 2 or not mark:
            raise Unmeasured(f"ufw wrote no rule that is known here: {block[:200]!r}")
        one = members[0].removesuffix("/32")
        blocks = "".join(start + block.replace(one, cidr.removesuffix("/32")) for cidr in members)
        file.write_text(head + blocks + mark + after, encoding="utf-8")

    def _call(self, root: Path, *arguments: str) -> Step:
        program = [sys.executable, str(root / "usr/sbin/ufw"), f"--rootdir={root}", f"--datadir={root}"]
        packages = str(root / "usr/lib/python3/dist-packages")
        return Step([([*program, *arguments], None)], env=[("PYTHONPATH", packages)])


CONTENDERS: tuple[Contender, ...] = (Hostguard(), RulePerCidr("legacy"), RulePerCidr("nft"), Ufw())


def said_by_ours(said: Sequence[str]) -> dict[str, float]:
    parts: dict[str, float] = json.loads(said[0])
    return parts
