"""Breaks of the gateway: of ours, and of an Envoy that somebody else configured.

What is configured wrongly is broken in somebody else's Envoy: in ours every other configuration is another than the
policy's, which gateway.routes tells.
"""

from __future__ import annotations

from tests.breaks.model import RELOAD, UNIT, Break, away, file

SERVICE = "hostguard-gateway.service"
RESTART = f"systemctl restart {SERVICE}"
FOLDER, RUN = "/etc/hostguard/gateway", "/run/hostguard-gateway"
XDS = f"{FOLDER}/xds"
PROGRAM = "/usr/bin/envoy"
PID = f"$(cat {RUN}/pid)"
UP = "until ss -ltn | grep -q 127.0.0.84:84; do sleep 0.05; done"
STARTS = "systemctl restart hostguard-egress.service"
PROGRAM_IS, INSTANCE, ROUTES, SEPARATION, SOCKETS, PORTS, SANDBOX, LOG, CAPACITY, RESOLUTION = (
    f"gateway.{name}" for name in ("program", "instance", "routes", "separation", "sockets", "ports-held", "sandbox",
                                   "log", "capacity", "resolution")
)  # fmt: skip


def renamed(path: str, name: str) -> str:
    """The script that gives Envoy a file as it takes one: by a rename within the folder."""
    return f"cp {path} {XDS}/.new; mv {XDS}/.new {XDS}/{name}; sleep 1"


def holding(program: str, seen: str) -> tuple[str, str]:
    """The scripts that start a process of Python's, and wait until `ss` shows what it listens on; and that end it."""
    start = f"systemd-run --quiet --unit=holding python3 -c \"{program}; __import__('signal').pause()\""
    return f"{start}; until ss {seen}; do sleep 0.1; done", "systemctl stop holding"


KEYS = "/run/secrets/payments"
PLANT = (
    f"install -d -m 2750 -o vault-agent -g envoy {KEYS}; for each in new old; do printf key-of-the-provider | "
    f"install -m 440 -o vault-agent -g envoy /dev/stdin {KEYS}/.$each; mv {KEYS}/.$each {KEYS}/$each; done"
)
ANSWERS = "import os, socket; os.unlink('{0}'); s = socket.socket(1); s.bind('{0}'); s.listen()"

BEHIND = (
    Break("changed: others than root may write the program", f"chmod 775 {PROGRAM}", f"chmod 755 {PROGRAM}",
          PROGRAM_IS),
    Break("run time: it runs on though its file was replaced", f"cp {PROGRAM} /usr/bin/new; mv /usr/bin/new {PROGRAM}",
          f"{RESTART}; {UP}", PROGRAM_IS),
    Break("overridden: a drop-in that starts it with more",
          *file(f"{UNIT}/{SERVICE}.d/a.conf", "[Service]", "NoNewPrivileges=no", then=RELOAD), INSTANCE),
    Break("changed: its bootstrap", f"sed -i.away s/hostguard/mine/ {FOLDER}/bootstrap.json",
          f"mv {FOLDER}/bootstrap.json.away {FOLDER}/bootstrap.json", INSTANCE),
    Break("disk only: no boot starts it", f"systemctl disable --quiet {SERVICE}", f"systemctl enable --quiet {SERVICE}",
          INSTANCE),
    Break("changed: clusters that were edited in place, and are overlooked",
          f"cp {XDS}/cds.json /root; sed s/payments/x/ /root/cds.json > /root/new; cat /root/new > {XDS}/cds.json",
          f"cat /root/cds.json > {XDS}/cds.json", ROUTES),
    Break("overridden: another time for a connection, by a rename",
          f"cp {XDS}/cds.json /root; python3 -c \"import json; d = json.load(open('/root/cds.json')); "
          "d['resources'][0]['connect_timeout'] = '9s'; d['version_info'] = 'x'; "
          f"json.dump(d, open('/root/new', 'w'))\"; {renamed('/root/new', 'cds.json')}",
          renamed("/root/cds.json", "cds.json"), ROUTES),
    Break("deleted: the rules of its ports", "iptables -F HOSTGUARD-GATEWAY", STARTS, SEPARATION),
    Break("changed: one account more", "iptables -I HOSTGUARD-GATEWAY 2 -p tcp --dport 84 -j RETURN",
          "iptables -D HOSTGUARD-GATEWAY 2", SEPARATION),
    Break("overridden: behind the chain that lets out",
          "iptables -D OUTPUT -j HOSTGUARD-GATEWAY; iptables -I OUTPUT 2 -j HOSTGUARD-GATEWAY", STARTS, SEPARATION),
    Break("run time: nothing holds what another device brings", "iptables -t mangle -D INPUT -j HOSTGUARD-GATEWAY",
          STARTS, SEPARATION),
    Break("changed: a folder that all may enter", f"chmod 755 {RUN}/payments", f"chmod 2750 {RUN}/payments", SOCKETS),
    Break("shadowed: somebody else answers at a socket",
          holding(ANSWERS.format(f"{RUN}/payments/http.sock"), "-lxp | grep http.sock | grep -q python3")[0],
          f"systemctl stop holding; rm {RUN}/payments/http.sock; {RESTART}; {UP}", SOCKETS),
    Break("run time: any account may take a port", "sysctl -qw net.ipv4.ip_unprivileged_port_start=80",
          "sysctl -qw net.ipv4.ip_unprivileged_port_start=1024", PORTS),
    Break("deleted: the name by which applications know a socket", f"rm {RUN}/payments/http.sock",
          "systemctl reload hostguard-gateway", SOCKETS),
    Break("deleted: the sockets of a port, which the proxy does not notice",  # each worker has one; ss may skip some
          "until [ -z \"$(ss -Hltn sport = :85)\" ]; do ss -K -ltn sport = :85; sleep 0.1; done",
          f"{RESTART}; {UP}", PORTS),
    Break("overridden: started under a drop-in that is gone again",
          f"mkdir -p {UNIT}/{SERVICE}.d; printf '[Service]\\nNoNewPrivileges=no\\nSystemCallFilter=\\n"
          f"ProtectSystem=no\\n' > {UNIT}/{SERVICE}.d/a.conf; {RELOAD}; {RESTART}; {UP}; rm -r {UNIT}/{SERVICE}.d; "
          f"{RELOAD}", f"{RESTART}; {UP}", SANDBOX),
    Break("shadowed: another Envoy of its account's has taken the sockets over",
          "systemd-run --quiet --unit=holding --property=User=envoy "
          "--property=AmbientCapabilities=CAP_NET_BIND_SERVICE --property=LimitCORE=1 "
          f"{PROGRAM} -c {FOLDER}/bootstrap.json --disable-hot-restart --concurrency 1; "
          "until [ $(ss -Hlx | grep -c gateway/letters) = 2 ]; do sleep 0.1; done; sleep 1; "
          f"for it in {RUN}/*/.http.sock; do ln $it $it.new; mv $it.new ${{it%/*}}/http.sock; done",
          f"systemctl stop holding; {RESTART}; {UP}", SANDBOX),
    Break("deleted: what rotates its log", *away("/etc/logrotate.d/hostguard-gateway"), LOG),
    Break("changed: what rotates its log", "sed -i.away s/daily/yearly/ /etc/logrotate.d/hostguard-gateway",
          "mv /etc/logrotate.d/hostguard-gateway.away /etc/logrotate.d/hostguard-gateway", LOG),
    Break("run time: hardly more files than it has open",
          f"runuser -u envoy -- prlimit --nofile=$(($(ls /proc/{PID}/fd | wc -l) * 6 / 5)): --pid {PID}",
          f"{RESTART}; {UP}", CAPACITY),
    Break("deleted: the new key", f"rm {KEYS}/new", PLANT, "gateway.credentials"),
    Break("changed: a key that is a line's end", f"echo > {KEYS}/old", PLANT, "gateway.credentials"),
    Break("overridden: an account more in the gateway's group", "gpasswd -a mail envoy", "gpasswd -d mail envoy",
          "gateway.credentials"),
    Break("overridden: /etc/hosts leads a provider's name elsewhere", "echo 192.0.2.9 api.provider.com >> /etc/hosts",
          "sed '$d' /etc/hosts > /root/hosts; cat /root/hosts > /etc/hosts", RESOLUTION),
)  # fmt: skip
"""Under tests/breaks/gateway.yml, which hostguard manages."""

FOREIGN = "/etc/foreign/envoy.json"
AGAIN = "systemctl restart foreign; until [ -S /run/foreign/admin.sock ]; do sleep 0.05; done; sleep 1"
CLUSTER = "d['static_resources']['clusters'][0]"
CONTEXT = f"{CLUSTER}['transport_socket']['typed_config']"
MANAGER = "d['static_resources']['listeners'][0]['filter_chains'][0]['filters'][0]['typed_config']"
ROUTE = f"{MANAGER}['route_config']['virtual_hosts'][0]['routes'][0]['route']"


def edited(name: str, change: str, control: str) -> Break:
    """Its configuration, changed by a statement of Python's, and started again."""
    program = f"import json; d = json.load(open('{FOREIGN}')); {change}; json.dump(d, open('{FOREIGN}', 'w'))"
    broken = f'cp {FOREIGN} /root/envoy.json; python3 -c "{program}"; {AGAIN}'
    return Break(name, broken, f"cp /root/envoy.json {FOREIGN}; {AGAIN}", f"gateway.{control}")


def certificate(days: int, name: str) -> str:
    made = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name}"
    return f"{made} -keyout /etc/foreign/{name}.key -out /etc/foreign/{name}.pem 2> /dev/null"


OF_FOREIGN = (
    edited("changed: no name is checked", f"del {CONTEXT}['auto_sni_san_validation']", "verification"),
    edited("deleted: what its certificate is checked by",
           f"{CONTEXT}.pop('auto_sni_san_validation'); {CONTEXT}['common_tls_context'] = {{}}", "verification"),
    edited("changed: TLS 1.1 will do",
           f"{CONTEXT}['common_tls_context']['tls_params'] = {{'tls_minimum_protocol_version': 'TLSv1_1'}}",
           "verification"),
    edited("changed: the panic threshold is Envoy's own", f"del {CLUSTER}['common_lb_config']", "breaker"),
    edited("deleted: no outlier detection", f"del {CLUSTER}['outlier_detection']", "breaker"),
    edited("changed: a request waits for ever", f"{ROUTE}['timeout'] = '0s'", "limits"),
    edited("deleted: no bound of connections", "del d['overload_manager']", "limits"),
    edited("deleted: its admin does all that Envoy can", "del d['admin']['allow_paths']", "admin"),
    Break("run time: others may open the admin's socket", "chmod 666 /run/foreign/admin.sock",
          "chmod 600 /run/foreign/admin.sock", "gateway.admin"),
    Break("changed: an authority that ends soon",
          f"cp /etc/foreign/ca.pem /root; {certificate(5, 'ca')}", "cp /root/ca.pem /etc/foreign/ca.pem",
          "gateway.certificates"),
    Break("run time: it shows a certificate that ends soon",
          f"cp /etc/foreign/own.pem /etc/foreign/own.key /root; {certificate(5, 'own')}; {AGAIN}; "
          "cp /root/own.pem /root/own.key /etc/foreign", AGAIN, "gateway.certificates"),
    edited("changed: an address in the place of a name",
           f"{CLUSTER}['type'] = 'STATIC'; {CLUSTER}['load_assignment']['endpoints'][0]['lb_endpoints'][0]['endpoint']"
           "['address']['socket_address']['address'] = '9.9.9.99'", "resolution"),
    Break("changed: a service with hardly more files than it has open",
          f"mkdir -p {UNIT}/foreign.service.d; printf '[Service]\\nLimitNOFILE=%s\\n' "
          "$(($(ls /proc/$(systemctl show -P MainPID foreign)/fd | wc -l) * 6 / 5)) "
          f"> {UNIT}/foreign.service.d/a.conf; {RELOAD}; {AGAIN}",
          f"rm -r {UNIT}/foreign.service.d; {RELOAD}; {AGAIN}", CAPACITY),
)  # fmt: skip
"""Under tests/breaks/foreign.yml: of an Envoy that hostguard only judges."""
