"""Several hosts of the lab, reached as a controller reaches them: OpenSSH, from the management address."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.host import Backend, Host
from tests.lab.lab import Lab
from tests.lab.network import inside
from tests.lab.process import call

SSH = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")


class Fleet:
    """Hosts with a key of ours, their inventory, and a controller that is inside of the lab's world."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        names: Sequence[str],
        *,
        backend: Backend = "nft",
        suite: str = "bookworm",
        made_of: str | None = None,
    ) -> None:
        self.lab, self.folder = lab, folder
        self.key = folder / "key"
        call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)])
        with ThreadPoolExecutor(4) as pool:
            started = pool.map(lambda name: lab.host(name, backend=backend, suite=suite, made_of=made_of), names)
            self.hosts = dict(zip(names, started, strict=True))
            list(pool.map(self.authorise, self.hosts.values()))
        self.inventory = folder / "inventory.yml"
        self.write_inventory({name: host.address.ipv4 for name, host in self.hosts.items()})

    def authorise(self, host: Host) -> None:
        """Let the controller in."""
        host.write("/root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text(), mode="600")
        host.run("systemctl start ssh")

    def write_inventory(self, addresses: Mapping[str, str], variables: Mapping[str, str] | None = None) -> None:
        """The hosts by name, and further lines of YAML below a host's name."""
        lines = ["all:", "  vars:", "    ansible_user: root", f"    ansible_ssh_private_key_file: {self.key}",
                 f"    ansible_ssh_common_args: {' '.join(SSH)}", "    ansible_python_interpreter: /usr/bin/python3",
                 "  hosts:"]  # fmt: skip
        for name, address in addresses.items():
            lines += [f"    {name}:", f"      ansible_host: {address}"]
            lines += [f"      {line}" for line in (variables or {}).get(name, "").splitlines()]
        self.inventory.write_text("\n".join(lines) + "\n")

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the controller's."""
        settings = {**self.settings(), **(env or {})}
        return call([*inside(self.lab.world.name), *argv], check=check, env=settings, input=input)

    def settings(self) -> dict[str, str]:
        """Ansible's, in the controller's environment."""
        return {
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            # Another lab has the same addresses: over its socket we would be on its hosts.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
        }
