"""The policy as one writes it for pyinfra: its own operations, and what is loaded is loaded where a file changed."""

import io
import json
import os
from pathlib import Path

from pyinfra.operations import files, server, systemd

wanted = json.loads(Path(os.environ["RIVAL_VARIABLES"]).read_text())


def put(group):
    return [
        files.put(
            name=each["path"],
            src=io.StringIO(each["content"]),
            dest=each["path"],
            user="root",
            group="root",
            mode=each["mode"].lstrip("0"),
        )
        for each in wanted[group]
    ]


def any_of(changed):
    return lambda: any(each.did_change() for each in changed)


units, service, manager = put("unit_files"), put("service_files"), put("manager_files")
put("limits_files")
put("sysctl_files")
rules = put("rules_files")

systemd.daemon_reload(_if=any_of(units + service))
server.shell(name="Reexecute systemd", commands=["systemctl daemon-reexec"], _if=any_of(manager))

for each in wanted["parameters"]:
    server.sysctl(name=each["key"], key=each["key"], value=each["value"])

for unit in wanted["started"]:
    systemd.service(name=unit, service=unit, running=True, enabled=True)
systemd.service(name=wanted["boot_unit"], service=wanted["boot_unit"], running=None, enabled=True)

sets, ipv4, ipv6 = (each["path"] for each in wanted["rules_files"])
unhook = [
    f"{program} -w 10 -t {table} -D {hook} -j HOSTGUARD-{hook} 2>/dev/null || true"
    for program in ("iptables", "ip6tables")
    for hook, table in (("OUTPUT", "filter"), ("FORWARD", "mangle"), ("INPUT", "filter"))
]
server.shell(
    name="Load the rules",
    commands=[
        f"ipset -exist -file {sets} restore",
        # This very connection, which the rules would cut off: connection tracking may begin in the middle of it.
        "set -- $SSH_CONNECTION; ipset -exist add hostguard-4-HELD $1,tcp:$2",
        *unhook,
        f"iptables-restore -w 10 --noflush {ipv4}",
        f"ip6tables-restore -w 10 --noflush {ipv6}",
    ],
    _if=any_of(rules),
)
server.shell(name="Restart the service", commands=[f"systemctl restart {wanted['service']}"], _if=any_of(service))
