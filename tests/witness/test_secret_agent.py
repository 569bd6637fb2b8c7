"""Secrets that come by themselves, on a whole host: a real server, a real agent, and each way in which they fail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml

from hostguard.policy.keys import RUN, SOCKET, UNIT
from tests.breaks import Break, score, secrets
from tests.lab import Host, Lab, diff
from tests.patience import until
from tests.witness import vault
from tests.witness.policy import PLACE
from tests.witness.test_breaks import failing, in_turn
from tests.witness.vault import bao, holds, put

pytestmark = pytest.mark.needs("lab", "bao")

WRAPPED_BY = "auth/approle/role/host/secret-id"
POLICY = yaml.safe_load(Path(secrets.__file__).with_name("agent.yml").read_text(encoding="utf-8"))
KEYS = "/run/secrets/payments"
NEW, OLD, PEM, NOTE = f"{KEYS}/new", f"{KEYS}/old", "/run/secrets/mtls/pem", "/run/secrets/.agent/payments"
PLANTED = {"key": "5ecret-payments-key", "previous": "5ecret-key-before"}
PAIR = {"cert": "5ecret-certificate", "key": "5ecret-mtls-key"}
ASK = f"""
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect("{SOCKET}")
    head = "X-Vault-Request: true\\r\\n" if sys.argv[1] == "asks" else ""
    s.sendall(f"GET /v1/secret/data/payments HTTP/1.0\\r\\nHost: agent\\r\\n{{head}}\\r\\n".encode())
    print(s.makefile().read())
"""


def policy(**agent: Any) -> str:
    """The small policy, with other keys of the agent's; None: without this one."""
    changed = {**POLICY["secrets"]["agent"], **agent}
    kept = {name: said for name, said in changed.items() if said is not None}
    return yaml.safe_dump({**POLICY, "secrets": {**POLICY["secrets"], "agent": kept}})


def apply(host: Host, text: str) -> None:
    host.write(PLACE, text)
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Host:
    return beside_a_server(lab, "agent", "bookworm")


def beside_a_server(lab: Lab, name: str, suite: str) -> Host:
    host = lab.host(name, suite=suite, options=vault.OPTIONS)
    host.run("useradd --system --user-group shop")
    vault.install(host, json.dumps(PLANTED), json.dumps(PAIR))
    return host


@pytest.fixture(scope="module")
def host(bare: Host) -> Host:
    apply(bare, policy())
    return bare


@pytest.fixture
def well(host: Host) -> Host:
    """With the planted keys in place."""
    put(host, **PLANTED)
    holds(host, NEW, PLANTED["key"])
    holds(host, OLD, PLANTED["previous"])
    return host


def test_all_of_it_goes_back(bare: Host) -> None:
    bare.write(PLACE, policy())
    before = bare.dump()
    assert bare.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    assert bare.run(["cat", NEW]).stdout == PLANTED["key"]
    assert bare.hostguard("rollback", "--yes", "--confirm-within", "0", "--to", "0").returncode == 0
    assert diff(before, bare.dump()) == []
    assert bare.run("pgrep -x bao -u vault-agent", check=False).stdout == ""
    assert bare.run(f"ls {RUN} /run/secrets", check=False).stdout == ""


def test_a_file_is_there_before_apply_ends_and_only_its_group_may_read_it(host: Host) -> None:
    seen = testinfra.get_host(f"podman://{host.container}")
    for path, said in ((NEW, PLANTED["key"]), (OLD, PLANTED["previous"]), (PEM, "\n".join(PAIR.values()) + "\n")):
        file = seen.file(path)
        assert (file.user, file.group, file.mode, file.content_string) == ("vault-agent", "envoy", 0o440, said)
        folder = seen.file(path.rpartition("/")[0])
        assert (folder.user, folder.group, folder.mode) == ("vault-agent", "envoy", 0o2750)
    assert seen.mount_point("/run/secrets").filesystem == "tmpfs"
    assert seen.service(UNIT).is_enabled
    assert seen.service(UNIT).is_running
    for account, may in (("envoy", True), ("shop", False)):
        done = host.run(["runuser", "-u", account, "--", "cat", NEW, PEM], check=False)
        assert (done.returncode == 0) is may, account


def test_the_agent_may_do_nothing_else(host: Host) -> None:
    pid = host.out(["systemctl", "show", "--property=MainPID", "--value", UNIT])
    said = host.out(f"cat /proc/{pid}/status")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in said
    shown = host.out(["systemctl", "show", "--property=MemorySwapMax,LimitCORE,Restart,StartLimitIntervalUSec", UNIT])
    assert set(shown.split()) == {"MemorySwapMax=0", "LimitCORE=1", "Restart=always", "StartLimitIntervalUSec=0"}


def test_a_hardened_host_is_clean(well: Host) -> None:
    assert failing(well) == {}


def test_a_new_version_arrives_and_without_an_old_key_both_files_hold_the_new_one(well: Host) -> None:
    put(well, key="after", previous=PLANTED["key"])
    holds(well, NEW, "after")
    holds(well, OLD, PLANTED["key"])
    put(well, key="after")
    holds(well, OLD, "after")


@pytest.mark.parametrize("fields", [{"key": "", "previous": ""}, {"other": "1"}], ids=["empty", "missing"])
def test_a_field_that_is_empty_or_missing_keeps_the_last_value_and_the_others_go_on(
    well: Host, fields: Mapping[str, str]
) -> None:
    put(well, **fields)
    until(lambda: well.out(["cat", NOTE]).startswith("1"), "it was fetched")
    put(well, "mtls", cert="c", key="k")
    holds(well, PEM, "c\nk\n")
    assert well.out(["cat", NEW, OLD]) == PLANTED["key"] + PLANTED["previous"]
    assert failing(well) == {}
    put(well, "mtls", **PAIR)


def test_the_socket_answers_its_group_alone_and_no_request_without_the_header(well: Host) -> None:
    def said(account: str, how: str = "asks") -> str:
        done = well.run(["runuser", "-u", account, "--", "python3", "-c", ASK, how], check=False)
        return done.stdout + done.stderr

    assert PLANTED["key"] in said("shop")
    assert "PermissionError" in said("envoy")
    assert "412" in said("shop", "is tricked")
    assert well.out(f"stat -c '%a %U %G' {SOCKET} {SOCKET.rpartition('/')[0]}").split("\n") == [
        "660 vault-agent shop", "2750 vault-agent shop"]  # fmt: skip


@pytest.mark.parametrize("done", [pytest.param(b, id=f"{b.control}, {b.name}") for b in in_turn(secrets.OF_AGENT)])
def test_the_audit_notices(well: Host, done: Break) -> None:
    before = well.out(["cat", NEW])
    well.run(done.broken)
    try:
        found = failing(well)
        score.count(done.name, set(found), {done.control})
        if done.control == "secrets.agent-fresh":
            assert well.out(["cat", NEW]) == before  # the last secret stays
    finally:
        well.run(done.mended)


def test_what_was_mended_is_seen_to_be(well: Host) -> None:
    assert failing(well) == {}


def test_a_secret_that_leaves_the_policy_goes_once_nobody_could_go_back(well: Host) -> None:
    stored = POLICY["secrets"]["agent"]["secrets"]
    more = policy(secrets={**stored, "more": stored["mtls"]})
    there, note, theirs = "/run/secrets/more/pem", "/run/secrets/.agent/more", "/run/secrets/theirs"
    well.run(["touch", theirs])
    apply(well, more)
    holds(well, there, "\n".join(PAIR.values()) + "\n")
    well.write(PLACE, policy())
    well.run(
        "systemd-run --quiet --collect --unit=applying env "
        + " ".join(f"{name}={value}" for name, value in well.settings.items())
        + " python3 -m hostguard apply --yes --confirm-within 300s"
    )
    until(lambda: "unconfirmed" in well.hostguard("history").stdout, "it is applied")
    # A server that is down would not give it again.
    assert well.out(["ls", there, note]).split() == [note, there]
    assert well.hostguard("confirm").returncode == 0
    gone = f"ls -d {note} {there.rpartition('/')[0]}"
    assert well.run(gone, check=False).stdout == ""
    apply(well, more)
    assert well.hostguard("rollback", "--yes", "--confirm-within", "0").returncode == 0
    assert well.run(gone, check=False).stdout == ""
    assert well.out(["ls", NEW, OLD, PEM, theirs]).split() == [PEM, NEW, OLD, theirs]
    well.run(["rm", theirs])
    well.write(PLACE, policy())


def test_once_the_server_is_back_it_heals_by_itself(well: Host) -> None:
    well.run(f"iptables -I {secrets.TO_SERVER}; sleep 6; iptables -D {secrets.TO_SERVER}")
    put(well, key="healed")
    holds(well, NEW, "healed")


def test_a_token_that_was_revoked_is_replaced(well: Host) -> None:
    bao(well, "lease", "revoke", "-prefix", "-force", "-sync", "auth/approle")
    put(well, key="of the next token")
    holds(well, NEW, "of the next token")


def test_killed_it_comes_again_and_the_keys_stay_meanwhile(well: Host) -> None:
    well.run(["systemctl", "kill", "--signal=KILL", UNIT])
    assert well.out(["cat", NEW]) == PLANTED["key"]
    put(well, key="after the kill")
    holds(well, NEW, "after the kill")


def test_an_unmounted_tmpfs_stops_it_and_a_new_one_starts_it(well: Host) -> None:
    well.run("umount /run/secrets")
    until(lambda: well.run(["pgrep", "-u", "vault-agent"], check=False).stdout == "", "it was stopped")
    assert well.out("ls -A /run/secrets") == ""
    well.run("systemctl start run-secrets.mount")
    holds(well, NEW, PLANTED["key"])


def test_a_boot_mounts_first_and_the_keys_are_there_when_it_starts_the_rest(well: Host) -> None:
    well.write("/etc/systemd/system/needs.service", f"[Unit]\nAfter={UNIT}\n[Service]\nType=oneshot\n"
               f"ExecStart=cp {NEW} /root/at-boot\n[Install]\nWantedBy=multi-user.target\n")  # fmt: skip
    well.run("systemctl enable --quiet needs; rm -f /root/at-boot")
    well.reboot()
    assert well.out("cat /root/at-boot") == PLANTED["key"]
    assert failing(well) == {}
    well.run("systemctl disable --quiet needs; rm /etc/systemd/system/needs.service /root/at-boot")


def test_a_boot_without_the_server_goes_on_after_a_while_and_heals(host: Host) -> None:
    host.run("systemctl disable --quiet vault")
    host.reboot()
    assert host.run(["cat", NEW], check=False).returncode
    assert set(failing(host)) == {"secrets.agent-fresh"}
    host.run("systemctl enable --quiet --now vault")
    holds(host, NEW, PLANTED["key"])


def test_another_program_than_the_pinned_one_is_not_started_and_all_goes_back(well: Host) -> None:
    sum_ = well.out(["sha256sum", vault.PROGRAM]).split()[0]
    apply(well, policy(sha256=sum_))
    pid = well.out(["systemctl", "show", "--property=MainPID", "--value", UNIT])
    assert pid != "0"
    well.write(PLACE, policy(sha256="0" * 64))
    done = well.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode, done.stdout
    assert f"{vault.PROGRAM}: FAILED" in well.out(["journalctl", "--no-pager", "-u", UNIT, "-n", "40"])
    until(lambda: well.run(["pgrep", "-u", "vault-agent"], check=False).stdout != "", "the one before runs again")
    well.write(PLACE, policy(sha256=sum_))
    assert failing(well) == {}


# Other ways to log in


def comes(host: Host, at: str = vault.PLAIN) -> None:
    """What is put now arrives: it is logged in."""
    put(host, at=at, key="by this login")
    holds(host, NEW, "by this login")


def test_a_wrapped_secret_id_is_good_once_and_serves_every_login_after_that(well: Host) -> None:
    well.run("install -d -m 700 -o vault-agent /var/lib/wrapped")
    wrapped = bao(well, "write", "-wrap-ttl=5m", "-field=wrapping_token", "-f", WRAPPED_BY)
    well.write("/var/lib/wrapped/secret-id", wrapped, mode="644")
    auth = {**POLICY["secrets"]["agent"]["auth"], "secret_id": "/var/lib/wrapped/secret-id", "wrapped_by": WRAPPED_BY}
    apply(well, policy(auth=auth))
    comes(well)
    assert well.out("ls /var/lib/wrapped") == ""
    bao(well, "lease", "revoke", "-prefix", "-force", "-sync", "auth/approle")
    put(well, **PLANTED)
    holds(well, NEW, PLANTED["key"])


def test_a_certificate_logs_in_over_tls(well: Host) -> None:
    at = vault.TLS
    with vault.over_tls(well):
        well.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=web "
                 "-addext extendedKeyUsage=clientAuth -keyout /etc/hostguard/web.key -out /etc/hostguard/web.pem; "
                 "chown vault-agent /etc/hostguard/web.key")  # fmt: skip
        bao(well, "auth", "enable", "cert", at=at)
        bao(well, "policy", "write", "reader", "/root/reader.hcl", at=at)
        bao(well, "write", "auth/cert/certs/web", "certificate=@/etc/hostguard/web.pem", "token_policies=reader", at=at)
        put(well, "mtls", at=at, **PAIR)
        files = {"certificate": "/etc/hostguard/web.pem", "key": "/etc/hostguard/web.key"}
        apply(well, policy(server=at, ca=vault.CA, auth={"method": "cert", "role": "web", **files}))
        comes(well, at)
    apply(well, policy())


SIGN = """
import base64, json, subprocess, time
def part(raw): return base64.urlsafe_b64encode(raw).rstrip(b"=")
now = int(time.time())
claims = {"sub": "web", "aud": "vault", "iat": now, "nbf": now - 9, "exp": now + 3600}
text = part(json.dumps({"alg": "RS256"}).encode()) + b"." + part(json.dumps(claims).encode())
sign = ["openssl", "dgst", "-sha256", "-sign", "/root/jwt.key"]
print((text + b"." + part(subprocess.run(sign, input=text, stdout=subprocess.PIPE, check=True).stdout)).decode())
"""


def test_a_token_of_somebody_else_s_logs_in(well: Host) -> None:
    well.run("openssl genrsa -out /root/jwt.key 2048; openssl rsa -in /root/jwt.key -pubout -out /root/jwt.pem")
    bao(well, "auth", "enable", "jwt")
    bao(well, "write", "auth/jwt/config", "jwt_validation_pubkeys=@/root/jwt.pem")
    bao(well, "write", "auth/jwt/role/web", "role_type=jwt", "bound_audiences=vault", "user_claim=sub",
        "token_policies=reader")  # fmt: skip
    well.write("/etc/hostguard/jwt", well.out(["python3", "-c", SIGN]))
    apply(well, policy(auth={"method": "jwt", "role": "web", "token": "/etc/hostguard/jwt"}))
    comes(well)
    apply(well, policy())
