"""The gateway's unit on a whole host: the real Envoy in its sandbox, replaced under load, killed, and given back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hostguard.controls.gateway import instance
from hostguard.host.kinds import KINDS
from hostguard.host.resource import Observation
from hostguard.policy.gateway import ADMIN, RUN, XDS, Gateway
from tests.gateway import minimal
from tests.gateway.minimal import cluster, listener, text
from tests.lab import Host, Lab, diff
from tests.lab.process import call
from tests.patience import until
from tests.programs import ENVOY

pytestmark = pytest.mark.needs("lab", "envoy")

PROGRAM_MAIN = "from hostguard.host.program_main import main; main([])"
PROGRAM, PROVIDER, PORT, TAKEN, HIGH = "/usr/local/bin/envoy", 8443, 84, 86, 8444
SOCKET, BOUND = f"{RUN}/payments/http.sock", f"{RUN}/payments/.http.sock"
GATEWAY = minimal.gateway(PROGRAM)
(UPSTREAM,) = GATEWAY.upstreams
CLUSTERS = text(cluster("payments", PROVIDER))
LISTENERS = text(listener("payments-tcp", PORT, "payments"), listener("payments", BOUND, "payments"))
TWIN = json.dumps({"static_resources": {}})


def bundle(
    g: Gateway = GATEWAY, *, clusters: str = CLUSTERS, listeners: str = LISTENERS, twin: str = TWIN, **more: Any
) -> dict[str, Any]:
    bootstrap = minimal.bootstrap(ADMIN, XDS, **more)
    resources = instance.resources(g, bootstrap=bootstrap, twin=twin, trust="{}", secrets={})
    resources.append(instance.routes(g, clusters=clusters, listeners=listeners))
    policy = {"path": "policy.yml", "sha256": "0"}
    return {"policy": policy, "areas": ["gateway"], "resources": resources, "evidence": {}}


def ask(host: Host, do: str, **more: Any) -> dict[str, Any]:
    request = json.dumps({"do": do, **more})
    said = host.run(["python3", "-c", PROGRAM_MAIN], input=request, env=host.settings, timeout=120).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def to_apply(of: dict[str, Any], seconds: int = 0) -> dict[str, Any]:
    return {"bundle": of, "options": {"confirm_within": seconds, "restart": False, "check": False}}


def apply(host: Host, of: dict[str, Any], seconds: int = 0) -> dict[str, Any]:
    return ask(host, "apply", **to_apply(of, seconds))


def differences(host: Host, of: dict[str, Any]) -> list[Any]:
    said = ask(host, "read", bundle=of)
    return [
        (resource["id"], difference)
        for resource in said["resources"]
        for difference in KINDS[resource["kind"]].differ(resource, Observation(*said["observations"][resource["id"]]))
    ]


def processes(host: Host) -> list[str]:
    return host.run(f"pgrep -f '^{PROGRAM} '", check=False).stdout.split()


def main_pid(host: Host) -> str:
    return host.out(["systemctl", "show", "--property=MainPID", "--value", instance.UNIT])


def status(host: Host, at: str = str(PORT), account: str = "root") -> str:
    program = "import sys; from tests.gateway.minimal import call; a = sys.argv[1]\n"
    program += "print(call(int(a) if a.isdecimal() else a)[0])"
    settings = [f"{name}={value}" for name, value in host.settings.items()]
    return host.out(["runuser", "-u", account, "--", "env", *settings, "python3", "-c", program, at])


@contextlib.contextmanager
def load(host: Host) -> Iterator[dict[str, int]]:
    """Requests to both listeners of the provider, from before until after; what they got is known at the end."""
    got: dict[str, int] = {}
    host.run("rm -f /run/enough /run/got")
    settings = [f"--setenv={name}={value}" for name, value in host.settings.items()]
    command = f"python3 -m tests.gateway.minimal load {PORT} {SOCKET} > /run/got.new; mv /run/got.new /run/got"
    host.run(["systemd-run", "--quiet", "--collect", "--unit=load", *settings, "sh", "-c", command])
    host.run("sleep 0.5")
    try:
        yield got
    finally:
        host.run("sleep 0.5; touch /run/enough; until [ -e /run/got ]; do sleep 0.05; done", timeout=60)
        got.update(json.loads(host.out("cat /run/got")))


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def host(request: pytest.FixtureRequest, lab: Lab) -> Host:
    host = lab.host(f"gateway-{request.param}", suite=request.param)
    call(["podman", "cp", str(ENVOY), f"{host.container}:{PROGRAM}"])
    host.run(f"chown root:root {PROGRAM} && chmod 755 {PROGRAM}")
    host.run("groupadd shop && useradd --system --no-create-home --groups shop shop-app -g nogroup")
    serve(host)
    return host


def serve(host: Host) -> None:
    settings = [f"--setenv={name}={value}" for name, value in host.settings.items()]
    for port in (PROVIDER, TAKEN):
        program = ["python3", "-m", "tests.gateway.minimal", "provider", str(port)]
        host.run(["systemd-run", "--quiet", "--collect", *settings, *program])
        host.run(f"until ss -ltn | grep -q :{port}; do sleep 0.05; done", timeout=30)


@pytest.fixture
def applied(host: Host) -> Host:
    done = apply(host, bundle())
    assert done["outcome"] in ("applied", "unchanged"), done
    return host


def test_what_the_proxy_itself_refuses_is_in_the_way_and_nothing_is_written(host: Host) -> None:
    before = host.dump()
    done = apply(host, bundle(twin='{"static_resources": {"clusters": [{"name": "x", "type": "NONE"}]}}'))
    assert done["outcome"] == "blocked", done
    (said,) = done["obstacles"]
    assert said.startswith("/etc/hostguard/gateway/twin.json would be refused by envoy: ")
    assert "NONE" in said
    assert diff(before, host.dump()) == []


def test_it_is_applied_runs_in_its_sandbox_and_all_of_it_goes_back(host: Host) -> None:
    before = host.dump()
    wanted = bundle()
    done = apply(host, wanted)
    assert done["outcome"] == "applied", done
    assert differences(host, wanted) == []
    assert (status(host), status(host, SOCKET)) == ("200", "200")
    said = host.out(f"cat /proc/{main_pid(host)}/status")
    for line in ("CapEff:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in said
    done = ask(host, "rollback", to=0)
    assert done["outcome"] == "rolled back", done
    assert processes(host) == []
    assert host.run(f"ls {RUN}", check=False).returncode
    assert diff(before, host.dump()) == []


def test_the_folder_of_a_socket_keeps_others_out(applied: Host) -> None:
    folders = applied.out(f"stat -c '%a %U %G' {RUN}/payments {RUN}/admin").split("\n")
    assert folders == ["2750 envoy shop", "700 envoy envoy"]
    assert status(applied, SOCKET, "shop-app") == "200"
    assert "PermissionError" in status(applied, SOCKET, "vault-agent")
    assert "PermissionError" in status(applied, ADMIN, "shop-app")


def test_a_new_bootstrap_and_a_new_sandbox_take_over_under_load(applied: Host) -> None:
    old = main_pid(applied)
    wanted = bundle(replace(GATEWAY, nofile=1424), stats_flush_interval="7s")
    with load(applied) as got:
        done = apply(applied, wanted)
    assert done["outcome"] == "applied", done
    assert differences(applied, wanted) == []
    new = main_pid(applied)
    assert new != old
    assert processes(applied) == [new]
    assert "Max open files            1424                 1424" in applied.out(f"cat /proc/{new}/limits")
    assert set(got) == {"200"}, got
    with load(applied) as got:
        assert ask(applied, "rollback", to=None)["outcome"] == "rolled back"
    assert set(got) == {"200"}, got
    assert differences(applied, bundle()) == []
    assert processes(applied) == [main_pid(applied)]


def test_routes_change_and_go_back_under_load_in_the_same_process(applied: Host) -> None:
    old = main_pid(applied)
    more = replace(UPSTREAM, name="files", listen=85)
    socket, bound = f"{RUN}/files/http.sock", f"{RUN}/files/.http.sock"
    listeners = text(listener("payments-tcp", PORT, "other"), listener("payments", BOUND, "other"),
                     listener("files", bound, "files"))  # fmt: skip
    clusters = text(cluster("other", PROVIDER), cluster("files", PROVIDER))
    wanted = bundle(replace(GATEWAY, upstreams=(UPSTREAM, more)), clusters=clusters, listeners=listeners)
    with load(applied) as got:
        done = apply(applied, wanted)
        assert done["outcome"] == "applied", done
        assert differences(applied, wanted) == []
        assert status(applied, socket) == "200"
        assert ask(applied, "rollback", to=None)["outcome"] == "rolled back"
    assert set(got) == {"200"}, got
    assert main_pid(applied) == old
    assert differences(applied, bundle()) == []
    assert applied.run(f"ls {RUN}/files", check=False).returncode


@pytest.mark.parametrize("what", ["a taken port", "a port that others may have", "a bootstrap that does not start"])
def test_what_fails_goes_back_under_load(applied: Host, what: str) -> None:
    if "port" in what:
        if "others" in what and "trixie" not in applied.image:
            pytest.skip("the systemd of Debian 12 has no SocketBindDeny=")
        port, said = (TAKEN, "Address already in use") if "taken" in what else (HIGH, "Operation not permitted")
        listeners = text(*json.loads(LISTENERS)["resources"], listener("files", port, "payments"))
        wanted = bundle(listeners=listeners)
    else:
        wanted, said = bundle(static_resources={"clusters": [{"name": "x"}, {"name": "x"}]}), instance.UNIT
    with load(applied) as got:
        done = apply(applied, wanted)
    assert done["outcome"] == "failed", done
    assert said in done["error"]
    assert done["trouble"] == []
    assert set(got) == {"200"}, got
    assert differences(applied, bundle()) == []
    assert processes(applied) == [main_pid(applied)]


def test_killed_it_comes_again_and_a_reload_by_hand_ends_what_was_left(applied: Host) -> None:
    old = main_pid(applied)
    applied.run(["kill", "-9", old])
    until(lambda: main_pid(applied) not in ("0", old) and status(applied) == "200", "it is back")
    # A takeover that was cut short leaves two.
    applied.run(f"systemctl reload --no-block {instance.UNIT}")
    until(lambda: len(processes(applied)) == 2, "one takes over from the other")
    applied.run("pkill -9 -f gateway/start", check=False)
    until(lambda: "ActiveState=active" in applied.out(["systemctl", "show", instance.UNIT]), "the reload is over")
    assert len(processes(applied)) == 2
    applied.run(["systemctl", "reload", instance.UNIT])
    assert processes(applied) == [main_pid(applied)]
    assert status(applied, SOCKET) == "200"
    assert differences(applied, bundle()) == []


def test_what_another_account_left_beside_a_socket_keeps_it_from_nothing(applied: Host) -> None:
    """The kernel links no file of another's (fs.protected_hardlinks), which every lab host has on as Debian does."""
    folder = SOCKET.rpartition("/")[0]
    program = f"import socket; socket.socket(1).bind('{folder}/.left.sock')"
    applied.run(["python3", "-c", program])
    try:
        applied.run(f"systemctl reload {instance.UNIT} && systemctl restart {instance.UNIT}")
        assert status(applied, SOCKET) == "200"
    finally:
        applied.run(f"rm {folder}/.left.sock")


def test_logs_are_opened_anew_for_logrotate(applied: Host) -> None:
    applied.run(["systemctl", "kill", "--kill-who=main", "--signal=USR1", instance.UNIT])
    assert status(applied) == "200"


@pytest.mark.parametrize("cut", ["unconfirmed", "while one takes over"])
def test_a_boot_goes_back_and_starts_one(applied: Host, cut: str) -> None:
    of = bundle(stats_flush_interval="9s", clusters=text(cluster("other", PROVIDER)), listeners=text())
    if cut == "unconfirmed":
        assert apply(applied, of, 600)["outcome"] == "unconfirmed"
    else:
        applied.write("/root/request.json", json.dumps({"do": "apply", **to_apply(of)}))
        settings = [f"--setenv={name}={value}" for name, value in applied.settings.items()]
        applied.run(["systemd-run", "--quiet", "--collect", "--property=StandardInput=file:/root/request.json",
                     *settings, "python3", "-c", PROGRAM_MAIN])  # fmt: skip
        until(lambda: len(processes(applied)) == 2, "one takes over from the other")
    applied.lose_power()
    until(lambda: not applied.run("ls /var/lib/hostguard/pending.json", check=False).stdout, "it went back")
    serve(applied)
    until(lambda: status(applied) == "200", "it answers")
    assert differences(applied, bundle()) == []
    assert processes(applied) == [main_pid(applied)]
