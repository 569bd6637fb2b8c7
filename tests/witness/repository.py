"""A policy's repository on the management station: commits signed by whom the test says, served by `git daemon`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab import Lab
from tests.lab.network import MANAGEMENT
from tests.lab.process import call

PORT = 9418
URL = f"git://{MANAGEMENT}/policy"
PARAMETER = "net.ipv4.tcp_keepalive_time"
# The playbook applies through the collection, and leaves a mark of its own: that it ran is seen even where it failed.
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {{dest: "/run/ran-{value}", content: ""}}
    - hostguard.hostguard.apply:
        policy: {{kernel: {{{parameter}: {value}}}}}
        areas: [kernel]
        confirm_within: "{{{{ hostguard_confirm_within }}}}"
"""


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "policy"
        self.folder.mkdir()
        self.gnupg = folder / "gnupg"
        self.gnupg.mkdir(mode=0o700)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """git, with nothing of what the machine's owner has configured."""
        own = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GNUPGHOME": str(self.gnupg)}
        me = ("-c", "user.name=Release", "-c", "user.email=release@example.org")
        return call(["git", "-C", str(self.folder), *me, *arguments], env=own).stdout.strip()

    def write_commit(self, text: str) -> str:
        """A commit object, word for word. Returns its hash."""
        file = self.folder.parent / "object"
        file.write_text(text)
        return self.git("hash-object", "-t", "commit", "-w", str(file))

    def ssh_key(self, name: str) -> Path:
        key = self.folder.parent / name
        call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)])
        return key

    def openpgp_key(self, name: str) -> str:
        """Make one, and return it in ASCII armour."""
        gpg = ["gpg", "--batch", "--quiet", "--homedir", str(self.gnupg)]
        call([*gpg, "--passphrase", "", "--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "never"])
        return call([*gpg, "--armor", "--export", f"{name}@example.org"]).stdout

    def close(self) -> None:
        """gpg has started an agent, which outlives whoever asked for it."""
        call(["gpgconf", "--homedir", str(self.gnupg), "--kill", "all"])

    def commit(self, value: int, *signing: str) -> str:
        """The newest commit of the branch sets a kernel parameter to this value. Returns its hash."""
        (self.folder / "site.yml").write_text(PLAYBOOK.format(value=value, parameter=PARAMETER))
        self.git("add", "--all")
        self.git(*signing, "commit", "--quiet", "--message", f"value {value}")
        return self.git("rev-parse", "HEAD")


def by_ssh(key: Path) -> tuple[str, ...]:
    return ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", "-c", "commit.gpgSign=true")


def by_openpgp(name: str) -> tuple[str, ...]:
    return ("-c", f"user.signingKey={name}@example.org", "-c", "commit.gpgSign=true")


def allowed(key: Path) -> str:
    """The line of an allowed-signers file."""
    return f'release@example.org namespaces="git" {key.with_suffix(".pub").read_text().strip()}'


@contextlib.contextmanager
def served(lab: Lab, repository: Repository) -> Iterator[None]:
    folder = str(repository.folder.parent)
    options = ("--reuseaddr", "--export-all", f"--base-path={folder}", f"--listen={MANAGEMENT}", f"--port={PORT}")
    daemon = lab.world.start_program(["git", "daemon", *options, folder])
    try:
        while lab.world.run(["nc", "-z", MANAGEMENT, str(PORT)], check=False).returncode:
            assert daemon.poll() is None, "git daemon ended"
            time.sleep(0.05)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def settings(**variables: object) -> str:
    return json.dumps({"hostguard_pull_url": URL, **variables})
