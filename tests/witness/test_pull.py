"""Hosts that pull: only what was signed by whom we allow is run, and it only goes forwards."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostguard.ansible import collection
from tests.lab import Lab
from tests.lab.fleet import SSH, Fleet
from tests.lab.host import PYTHON_SETTINGS, SOURCE_INSIDE
from tests.witness import repository
from tests.witness.repository import PARAMETER, Repository, allowed, by_openpgp, by_ssh

pytestmark = pytest.mark.needs("lab", "signatures")

COLLECTIONS = "/opt/collections"
FOLDER = "/etc/hostguard/pull"
SETTINGS = f"{FOLDER}/settings.json"
GENERATIONS = "/var/lib/hostguard/generations"
ACCEPTED = "/var/lib/hostguard-pull/accepted"
PLAYBOOK = """
- hosts: all
  gather_facts: false
  roles: [hostguard.hostguard.pull]
"""

# git's dumb protocol: files over HTTPS.
SERVE = """
import http.server, ssl
server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/ssl/policy.crt", "/root/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


class Puller:
    """A host that pulls, its repository, and who may sign there."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.fleet = Fleet(lab, folder, ["web"])
        self.host = self.fleet.hosts["web"]
        self.host.run(f"mkdir -p {COLLECTIONS}/ansible_collections/hostguard")
        self.host.run(f"ln -s {SOURCE_INSIDE} {COLLECTIONS}/ansible_collections/hostguard/hostguard")
        self.repository = Repository(folder)
        self.release, self.stranger = (self.repository.ssh_key(name) for name in ("release", "stranger"))
        self.openpgp = self.repository.openpgp_key("pgp")
        self.playbook = folder / "pull.yml"
        self.playbook.write_text(PLAYBOOK)

    def install(self, **variables: object) -> str:
        """Run the role as a controller does; returns ansible's recap."""
        given = {
            "hostguard_pull_allowed_signers": [allowed(self.release)],
            "hostguard_pull_openpgp_keys": self.openpgp,
            "hostguard_pull_packages": [],
            "hostguard_pull_command": ["python3", "-m", "ansible", "playbook"],
            "hostguard_pull_environment": {**PYTHON_SETTINGS, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS},
            "hostguard_pull_schedule": "*-*-01 00:00:00",  # ticks are ours to start
            "hostguard_pull_confirm_within": "0",
            **variables,
        }
        with collection.environment() as environment:
            programs = Path(sys.executable).parent
            argv = [str(programs / "ansible-playbook"), "-i", str(self.fleet.inventory), str(self.playbook)]
            done = self.fleet.run(
                [*argv, "-e", repository.settings(**given)], env={**environment, "ANSIBLE_PIPELINING": "1"}
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-2]

    def set(self, **changes: object) -> None:
        """Other settings than the role has installed; running the role for each would take most of the time."""
        known = json.loads(self.host.out(["cat", SETTINGS]))
        self.host.write(SETTINGS, json.dumps({**known, **changes}), mode="600")

    def tick(self) -> bool:
        """What the timer does. Whether it went well, as systemd says it."""
        done = self.host.run(["systemctl", "start", "hostguard-pull.service"], check=False)
        return done.returncode == 0

    def journal(self) -> list[str]:
        """What the last tick has said."""
        said = self.host.out("journalctl --sync; journalctl --unit=hostguard-pull.service --output=cat").splitlines()
        started = max(number for number, line in enumerate(said) if line.startswith("Starting hostguard-pull"))
        return said[started:]

    def word(self) -> str:
        """The one line in which the last tick tells what became of it."""
        (line,) = (line for line in self.journal() if line.startswith("hostguard-pull: "))
        return line

    def value(self) -> int:
        """Asked of the kernel."""
        return int(self.host.out(f"cat /proc/sys/{PARAMETER.replace('.', '/')}"))

    def state(self) -> tuple[int, str, str]:
        """What a refused commit may not change: the kernel, what was accepted, what ran and when."""
        marks = self.host.out("ls --full-time /run | grep ran-")
        return self.value(), self.host.out(["cat", ACCEPTED]), marks

    def refuses(self, *why: str) -> None:
        """The tick fails and says why in one line of the journal; nothing ran, not even what was accepted before."""
        before = self.state()
        assert not self.tick()
        for word in ("refused, nothing was run", *why):
            assert word in self.word()
        assert self.state() == before


@pytest.fixture(scope="module")
def pulling(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Puller]:
    made = Puller(lab, tmp_path_factory.mktemp("pull"))
    with contextlib.closing(made.repository):
        made.install()
        made.repository.commit(1001, *by_ssh(made.release))
        with repository.served(lab, made.repository):
            assert made.tick(), made.journal()
            yield made


@pytest.fixture
def puller(pulling: Puller) -> Iterator[Puller]:
    """Its branch is at what the host accepted last, when a test begins and when it ends."""
    yield pulling
    pulling.repository.git("reset", "--quiet", "--hard", pulling.host.out(["cat", ACCEPTED]))


def test_a_signed_commit_is_applied_and_a_second_tick_changes_nothing(puller: Puller) -> None:
    commit = puller.repository.commit(1002, *by_ssh(puller.release))
    assert puller.tick(), "\n".join(puller.journal())
    assert puller.value() == 1002
    assert puller.state()[1] == commit
    assert f"commit {commit} ran well" in puller.word()
    assert not any("resources" in line for line in puller.journal()), "the question itself does not fill the journal"
    assert puller.host.out("stat -c %a /etc/sysctl.d/zz-hostguard.conf") == "644", "no mask of the unit's own"
    history, marks = puller.host.hostguard("history").stdout, puller.state()
    assert puller.tick()
    assert any("changed=0" in line for line in puller.journal()), "it ran, and found all as it should be"
    assert (puller.host.hostguard("history").stdout, puller.state()) == (history, marks)
    puller.host.run(f"sysctl -qw {PARAMETER}=7200")
    assert puller.tick()
    assert puller.value() == 1002, "what has drifted is put right without a new commit"


def test_an_openpgp_signature_counts_too(puller: Puller) -> None:
    puller.repository.commit(1003, *by_openpgp("pgp"))
    assert puller.tick(), "\n".join(puller.journal())
    assert puller.value() == 1003


def test_an_unsigned_commit_is_refused(puller: Puller) -> None:
    commit = puller.repository.commit(1004)
    puller.refuses(commit, "no signature")


def test_a_commit_signed_by_a_stranger_is_refused(puller: Puller) -> None:
    commit = puller.repository.commit(1005, *by_ssh(puller.stranger))
    puller.refuses(commit, "not one of the allowed signers")
    puller.repository.openpgp_key("stranger")
    commit = puller.repository.commit(1006, *by_openpgp("stranger"))
    puller.refuses(commit, "not one of the allowed signers")


def test_a_signature_is_of_what_it_signs(puller: Puller) -> None:
    """A signed commit with another tree put under its signature."""
    puller.repository.commit(1007, *by_ssh(puller.release))
    signed = puller.repository.git("cat-file", "commit", "HEAD")
    tree = puller.repository.git("rev-parse", "HEAD^{tree}")
    other = puller.repository.git("rev-parse", "HEAD~^{tree}")
    forged = puller.repository.write_commit(signed.replace(tree, other) + "\n")
    puller.repository.git("reset", "--quiet", "--hard", forged)
    puller.refuses(forged, "does not fit")


def test_a_signed_tag_vouches_for_no_commit(puller: Puller) -> None:
    commit = puller.repository.commit(1008)
    puller.repository.git(*by_ssh(puller.release), "tag", "--sign", "--message", "main", "main", "HEAD")
    puller.refuses(commit, "no signature")
    puller.repository.git("tag", "--delete", "main")


def test_an_old_signed_commit_is_refused(puller: Puller) -> None:
    accepted = puller.state()[1]
    puller.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    puller.refuses("moved back", accepted)


def test_a_host_that_accepted_nothing_yet_starts_where_it_is_told(puller: Puller) -> None:
    newest = puller.repository.commit(1009, *by_ssh(puller.release))
    puller.set(oldest_commit=newest)
    puller.host.run(["rm", ACCEPTED])
    puller.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    before = puller.value()
    assert not puller.tick()
    assert "moved back" in puller.word()
    assert puller.value() == before
    puller.repository.git("reset", "--quiet", "--hard", newest)
    assert puller.tick(), "\n".join(puller.journal())
    assert puller.value() == 1009
    puller.set(oldest_commit="")


def test_submodules_are_refused(puller: Puller) -> None:
    puller.repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},roles")
    puller.repository.git(*by_ssh(puller.release), "commit", "--quiet", "--message", "a submodule")
    puller.refuses("submodules")


def test_keys_are_withdrawn(puller: Puller) -> None:
    puller.repository.commit(1010, *by_ssh(puller.release))
    puller.host.write(f"{FOLDER}/revoked_signers", puller.release.with_suffix(".pub").read_text())
    puller.refuses()
    puller.host.write(f"{FOLDER}/revoked_signers", "")
    signers = puller.host.out(["cat", f"{FOLDER}/allowed_signers"])
    puller.host.write(f"{FOLDER}/allowed_signers", signers.replace("namespaces", 'valid-before="20200101",namespaces'))
    puller.refuses()
    puller.host.write(f"{FOLDER}/allowed_signers", signers + "\n")
    assert puller.tick(), "\n".join(puller.journal())
    assert puller.value() == 1010


def test_nobody_confirms_and_it_is_not_tried_again(puller: Puller) -> None:
    puller.set(confirm_within="1s")
    before = puller.value()
    commit = puller.repository.commit(1011, *by_ssh(puller.release))
    assert not puller.tick()
    assert puller.value() == before
    assert any("rolled back by the host" in line for line in puller.journal())
    marks = puller.state()
    assert not puller.tick()
    assert f"commit {commit} was rolled back on this host" in puller.word()
    assert puller.state() == marks
    puller.host.run(["hostguard-pull", "again"])
    puller.set(confirm_within="0")
    assert puller.tick(), "\n".join(puller.journal())
    assert puller.value() == 1011


def test_a_new_connection_confirms(puller: Puller) -> None:
    puller.set(confirm_within="10m")
    puller.repository.commit(1012, *by_ssh(puller.release))
    ticking = threading.Thread(target=puller.tick)
    ticking.start()
    puller.host.run(f'until grep -qs \'"status": "unconfirmed"\' {GENERATIONS}/*.json; do sleep 0.1; done', timeout=60)
    confirm = " ".join(f"{name}={value}" for name, value in PYTHON_SETTINGS.items()) + " python3 -m hostguard confirm"
    login = ["ssh", *SSH, "-i", str(puller.fleet.key), f"root@{puller.host.address.ipv4}"]
    said = puller.fleet.run([*login, confirm])
    assert said.returncode == 0, said.stderr
    ticking.join()
    assert "ran well" in puller.word()
    assert puller.value() == 1012
    puller.set(confirm_within="0")


def test_over_ssh_with_a_key_of_the_hosts_own(puller: Puller) -> None:
    """From its own sshd, which serves what git:// serves; a server with another key than the known one is refused."""
    host, name = puller.host, puller.host.address.ipv4
    host.run(f"git clone --quiet --bare {repository.URL} /srv/policy.git")
    host.run(f"ssh-keygen -qt ed25519 -N '' -f {FOLDER}/deploy; cat {FOLDER}/deploy.pub >> /root/.ssh/authorized_keys")
    known, other = (
        f"{name} {host.out(['cat', key])}" for key in ("/etc/ssh/ssh_host_ed25519_key.pub", f"{FOLDER}/deploy.pub")
    )
    over_ssh = {
        "hostguard_pull_url": f"ssh://root@{name}/srv/policy.git",
        "hostguard_pull_ssh_key": f"{FOLDER}/deploy",
    }
    try:
        puller.install(**over_ssh, hostguard_pull_known_hosts=other)
        assert not puller.tick()
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in (said := "\n".join(puller.journal())), said
        puller.install(**over_ssh, hostguard_pull_known_hosts=known)
        commit = puller.repository.commit(1013, *by_ssh(puller.release))
        host.run(f"git -C /srv/policy.git fetch --quiet {repository.URL} main:main")
        assert puller.tick(), "\n".join(puller.journal())
        assert (puller.value(), puller.state()[1]) == (1013, commit)
    finally:
        puller.install()


def test_over_https_with_an_authority_of_ones_own(puller: Puller) -> None:
    host = puller.host
    host.run(f"git clone --quiet --bare {repository.URL} /srv/https/policy.git")
    host.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=git "
             "-addext subjectAltName=IP:127.0.0.1 -keyout /root/tls.key -out /etc/ssl/policy.crt 2>&1")  # fmt: skip
    host.write("/root/serve.py", SERVE)
    host.run(["systemd-run", "--quiet", "--unit=https", "--working-directory=/srv/https", "python3", "/root/serve.py"])
    host.run(
        "until openssl s_client -connect 127.0.0.1:443 < /dev/null > /dev/null 2>&1; do sleep 0.05; done", timeout=60
    )
    over_https = {"hostguard_pull_url": "https://127.0.0.1/policy.git"}
    try:
        puller.install(**over_https)
        assert not puller.tick()
        assert "certificate" in "".join(puller.journal())
        environment = {
            **PYTHON_SETTINGS,
            "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS,
            "GIT_SSL_CAINFO": "/etc/ssl/policy.crt",
        }
        puller.install(**over_https, hostguard_pull_environment=environment)
        commit = puller.repository.commit(1014, *by_ssh(puller.release))
        host.run(f"cd /srv/https/policy.git && git fetch --quiet {repository.URL} main:main && git update-server-info")
        assert puller.tick(), "\n".join(puller.journal())
        assert (puller.value(), puller.state()[1]) == (1014, commit)
    finally:
        host.run("systemctl stop https")
        puller.install()


def test_the_timer_spreads_the_hosts(puller: Puller) -> None:
    """And a second run of the role changes nothing."""
    timer: dict[str, object] = {"hostguard_pull_schedule": "*:0/30", "hostguard_pull_jitter": "30min"}
    timer["hostguard_pull_on_failure"] = "alarm.service"
    assert "changed=0" not in puller.install(**timer)
    asked = "RandomizedDelayUSec,FixedRandomDelay,Persistent,AccuracyUSec,TimersCalendar,ActiveState,UnitFileState"
    shown = puller.host.out(["systemctl", "show", "hostguard-pull.timer", "--property", asked]).splitlines()
    wanted = {"RandomizedDelayUSec=30min", "FixedRandomDelay=yes", "Persistent=yes", "AccuracyUSec=1s"}
    assert wanted | {"ActiveState=active", "UnitFileState=enabled"} <= set(shown)
    (calendar,) = (line for line in shown if line.startswith("TimersCalendar="))
    assert "OnCalendar=*-*-* *:00/30:00" in calendar
    service = puller.host.out(["systemctl", "show", "hostguard-pull.service", "--property", "OnFailure"])
    assert service == "OnFailure=alarm.service"
    assert "changed=0" in puller.install(**timer)


def test_what_fetches_is_fenced_in(puller: Puller) -> None:
    """Another program in its place can't write where the role's own program need not."""
    drop_in = "/run/systemd/system/hostguard-pull.service.d/test.conf"
    for path, well in (("/var/lib/hostguard-pull/here", True), ("/etc/there", False), ("/root/there", False)):
        puller.host.write(drop_in, f"[Service]\nExecStart=\nExecStart=/usr/bin/touch {path}\n")
        puller.host.run("systemctl daemon-reload")
        assert puller.tick() is well, path
    puller.host.run(f"rm -r {drop_in.rpartition('/')[0]} && systemctl daemon-reload")
