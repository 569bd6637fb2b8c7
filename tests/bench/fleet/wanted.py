"""What the example policy wants of a lab host, as the rivals' own variables, and how a host says that it has it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hostguard.bundle import compile_policy
from hostguard.host import iptables
from hostguard.host.kinds import sysctl
from hostguard.host.resource import Resource, placeholders, resolve
from hostguard.policy.load import load
from tests.bench.figure import Unmeasured
from tests.lab import Host
from tests.lab.host import PYTHON_SETTINGS

UNITS = "/etc/systemd/system/"
RULES = "/etc/hostguard/egress/"
SERVICE = "envoy.service"


def resources(policy: Path, host: Host) -> list[Resource]:
    """With the numbers that the accounts have on the hosts, which all come from one image."""
    found = list(compile_policy(load(policy)).resources)
    facts = {name: _fact(name, host) for name in placeholders(found)}
    return [resolve(resource, facts) for resource in found]


def _fact(name: str, host: Host) -> str:
    what, _, account = name.partition(":")
    if what == "noswap":
        program = "from hostguard.host import facts; print(facts.gather(['noswap'])['noswap'])"
        return host.run(["python3", "-c", program], env=PYTHON_SETTINGS).stdout.strip()
    return host.out(["id", {"uid": "-u", "gid": "-g"}[what], account])


def variables(wanted: list[Resource]) -> dict[str, Any]:
    """Files by what must be told when they change, live kernel parameters, units. All of them in plain words: a rival
    is spared what hostguard does to get at them."""
    files = [{key: r[key] for key in ("path", "content", "mode")} for r in wanted if r["kind"] == "file"]
    rules = [each for each in files if each["path"].startswith(RULES)]
    units = [each for each in files if each["path"].startswith(UNITS) and SERVICE not in each["path"]]
    service = [each for each in files if SERVICE in each["path"]]
    manager = [each for each in files if "/system.conf.d/" in each["path"]]
    limits = [each for each in files if "/limits.d/" in each["path"]]
    parameters = [
        {"key": r["key"], "value": r["value"]}
        for r in sorted(wanted, key=lambda r: str(r.get("key")))
        if r["kind"] == "sysctl" and r["key"].startswith("net.")  # the others are the machine's
    ]
    known = len(rules) + len(units) + len(service) + len(manager) + len(limits)
    if known != len(files):
        raise Unmeasured("the example policy writes a file that the rivals know nothing of")
    body = sysctl.HEADER + "".join(f"{each['key']} = {each['value']}\n" for each in parameters)
    return {
        "rules_files": rules,
        "unit_files": units,
        "service_files": service,
        "manager_files": manager,
        "limits_files": limits,
        "sysctl_files": [{"path": sysctl.OUR_FILE, "content": body, "mode": "0644"}],
        "parameters": parameters,
        "started": [r["unit"] for r in wanted if r["kind"] in ("unit", "slice") and _runs(r)],
        "boot_unit": next(r["unit"] for r in wanted if r["kind"] == "unit" and r["unit"].endswith("-egress.service")),
        "service": SERVICE,
    }


def _runs(resource: Resource) -> bool:
    return bool(resource.get("ours")) and resource["unit"].endswith((".mount", ".slice"))


# --- one stock task per rule ---------------------------------------------------------------------------------------

SAID = {
    "-o": "out_interface",
    "-d": "destination",
    "-p": "protocol",
    "-j": "jump",
    "--uid-owner": "uid_owner",
    "--icmpv6-type": "icmp_type",
    "--ctstate": "ctstate",
}
IMPLIED = {"set", "owner", "icmp6", "conntrack", "tcp"}
"""Matches that the module loads by itself where one of its options needs them."""


def tasks(wanted: Iterable[Resource]) -> list[dict[str, Any]]:
    """One task a chain, a rule, a jump, a policy, in an order in which nobody is cut off."""
    chains = [r for r in wanted if r["kind"] == "ruleset"]
    found = []
    for each in chains:
        found.append(_task(f"{each['family']} chain {each['chain']}", each, chain_management=True, chain=each["chain"]))
        for rule in each["rules"]:
            found.append(_rule(each, rule))
    for each in chains:
        found.append(_task(f"{each['family']} jump to {each['chain']}", each, chain=each["hook"], jump=each["chain"],
                           action="insert"))  # fmt: skip
    for each in chains:
        if each["policy"]:
            name = f"{each['family']} policy of {each['hook']}"
            found.append(_task(name, each, chain=each["hook"], policy=each["policy"]))
    return found


def _task(name: str, of: Resource, **arguments: Any) -> dict[str, Any]:
    said = {"ip_version": of["family"], "table": of["table"], "numeric": True, **arguments}
    if "policy" not in arguments:  # the module puts it where iptables does not take it
        said["wait"] = "10"
    return {"name": name, "ansible.builtin.iptables": said}


def _rule(of: Resource, rule: str) -> dict[str, Any]:
    name = f"{of['family']} {of['chain']} {rule}"[:120]
    told = _module_arguments(rule)
    if told is not None:
        return _task(name, of, chain=of["chain"], **told)
    program = f"{iptables.COMMAND[of['family']]} -w 10"
    check, add = (f"{program} -t {of['table']} {verb} {of['chain']} {rule}" for verb in ("-C", "-A"))
    return {
        "name": name,
        "ansible.builtin.shell": f"{check} 2>/dev/null || {{ {add} && echo changed; }}",
        "register": "rule",
        "changed_when": "'changed' in rule.stdout",
    }


def _module_arguments(rule: str) -> dict[str, Any] | None:
    """What `ansible.builtin.iptables` is told; None for what it has no words for (--ctdir, --socket-exists, --hl-eq,
    --length, --log-uid, two sets), and for a set after an owner, which it writes the other way round."""
    words = shlex.split(rule)
    told: dict[str, Any] = {}
    while words:
        option = words.pop(0)
        if option == "-m" and words[0] in IMPLIED:
            words.pop(0)
        elif option == "--match-set" and "match_set" not in told:
            told["match_set"], told["match_set_flags"] = words.pop(0), words.pop(0)
        elif option in SAID and SAID[option] not in told:
            told[SAID[option]] = words.pop(0)
        else:
            return None
    if {"uid_owner", "match_set"} <= told.keys():
        return None
    if "ctstate" in told:
        told["ctstate"] = told["ctstate"].split(",")
    return told


# --- the state of a host -------------------------------------------------------------------------------------------

STATE = r"""
for family in ip ip6; do
    ${family}tables-save | sed '/^#/d; s/\[[0-9:]*\]//' > /tmp/rules
    grep '^:' /tmp/rules | sort; grep -v '^:' /tmp/rules | sort -s -k 2,2
done
ipset save | sed 's/ initval.*//; s/ bucketsize.*//' | grep -v 'add hostguard-.-HELD' | sort
findmnt --noheadings --output TARGET,FSTYPE,OPTIONS /run/secrets
systemctl is-enabled $ENABLED; systemctl is-active $STARTED
systemctl show --property=DefaultLimitNOFILE,DefaultLimitNOFILESoft
systemctl show --property=LimitNOFILE,Slice,ActiveState $SERVICE
pid=$(systemctl show --property=MainPID --value $SERVICE)
grep 'open files' /proc/$pid/limits; grep -E 'pids|memory|name=' /proc/$pid/cgroup | sort -t: -k2
cat /sys/fs/cgroup/pids/hostguard.slice/*.slice/pids.max /sys/fs/cgroup/memory/hostguard.slice/*.slice/memory.limit*
sysctl $KEYS
for file in $FILES; do stat --format='%n %a %U:%G' $file; grep -v '^#' $file; done
"""


def state(host: Host, wanted: Mapping[str, Any]) -> str:
    """Everything that the policy wants, as the host's own tools say it."""
    files = [each["path"] for key, group in wanted.items() if key.endswith("_files") for each in group]
    settings = {
        "ENABLED": " ".join([*wanted["started"], wanted["boot_unit"]]),
        "STARTED": " ".join(wanted["started"]),
        "SERVICE": wanted["service"],
        "KEYS": " ".join(each["key"] for each in wanted["parameters"]),
        "FILES": " ".join(files),
    }
    return host.run(STATE, env=settings).stdout


def write(folder: Path, wanted: list[Resource]) -> Path:
    """The rivals' variables and the stock rival's rules, as files of a folder."""
    (folder / "rules.yml").write_text(json.dumps(tasks(wanted), indent=1), encoding="utf-8")  # JSON is YAML, too
    place = folder / "variables.json"
    found = {**variables(wanted), "rules_tasks": str(folder / "rules.yml")}
    place.write_text(json.dumps(found), encoding="utf-8")
    return place
