"""Breaks of names: what leads to the host's own resolver, what it knows, and what keeps an address too long."""

from __future__ import annotations

from tests.breaks.model import RELOAD, UNIT, Break, away, file, over

NAMES, STALE = "egress.names", "egress.stale-names"
SERVICE = "hostguard-names.service"
CONFIGURATION = "/etc/hostguard/egress/names.conf"
MARK = "/etc/hostguard/names.mark"
SET = "$(ipset -n list | grep -m1 hostguard-4-NEW-)"


def beside(program: str, *arguments: str) -> tuple[str, str]:
    """The scripts that start and stop a process of that name, which does nothing: what it is called and what it was
    told is what counts."""
    path = f"/usr/local/bin/{program}"
    return (
        f"printf '#!/usr/bin/python3\\nimport time; time.sleep(999)\\n' > {path}; chmod 755 {path}; "
        f"systemd-run --quiet --unit=stale {path} {' '.join(arguments)}; "
        f"until grep -qsx {program} /proc/[0-9]*/comm; do sleep 0.05; done",
        f"systemctl stop stale; rm {path}",
    )


def cache(name: str, program: str, path: str, line: str) -> Break:
    (write, remove), (start, stop) = file(path, line), beside(program)
    return Break(name, f"{write}; {start}", f"{stop}; {remove}", STALE)


BREAKS = (
    cache("run time: nscd keeps hosts", "nscd", "/etc/nscd.conf", "enable-cache hosts yes"),
    cache("changed: unbound serves what has expired", "unbound", "/etc/unbound/unbound.conf.d/a.conf",
          "  serve-expired: yes"),
    Break("run time: a JVM that keeps every address for ever", *beside("java", "-Dsun.net.inetaddr.ttl=-1"), STALE),
    Break("run time: a dnsmasq of somebody else's that lengthens every answer's time",
          *beside("dnsmasq", "--min-cache-ttl=3600"), STALE),
)  # fmt: skip

START, STOP = beside("systemd-resolve")
OF_NAMES = (
    Break("overridden: lookups go where a DHCP client was told",
          "cp /etc/resolv.conf /root/away; echo nameserver 192.0.2.53 > /etc/resolv.conf",
          "cat /root/away > /etc/resolv.conf; rm /root/away", NAMES),
    Break("shadowed: a link to another resolver's file in its place",
          "mv /etc/resolv.conf /root/away; ln -s /run/stub-resolv.conf /etc/resolv.conf",
          "mv /root/away /etc/resolv.conf", NAMES),
    Break("shadowed: another file mounted over it", *over("/etc/resolv.conf", "echo nameserver 192.0.2.53"), NAMES),
    Break("run time: the resolver does not run", f"systemctl stop {SERVICE}", f"systemctl start {SERVICE}", NAMES),
    Break("run time: it runs with what was on the disk before",
          f"sed -i.away 's/HOSTGUARD_MARK=/&0/' {MARK}; systemctl restart {SERVICE}; mv {MARK}.away {MARK}",
          f"systemctl restart {SERVICE}", NAMES),
    Break("changed: it knows one name more", f"echo server=/enemy.example/10.0.0.2 >> {CONFIGURATION}",
          f"sed -i '$d' {CONFIGURATION}", NAMES),
    Break("overridden: a drop-in that starts it with another file",
          *file(f"{UNIT}/{SERVICE}.d/a.conf", "[Service]", "ExecStart=", "ExecStart=dnsmasq --conf-file=/dev/null",
                then=RELOAD), NAMES),
    Break("disk only: no boot starts it", f"rm {UNIT}/multi-user.target.wants/{SERVICE}",
          f"systemctl enable --quiet {SERVICE}", NAMES),
    Break("changed: an address that no answer gave, for ever", f"ipset add {SET} 192.0.2.1 timeout 0",
          f"ipset del {SET} 192.0.2.1", NAMES),
    Break("deleted: what its sets are made from", *away("/etc/hostguard/egress/names.sets"), NAMES),
    Break("shadowed: lookups go to systemd-resolved, wherever /etc/resolv.conf leads",
          f"sed -i.away '/^hosts:/s/dns/resolve dns/' /etc/nsswitch.conf; {START}",
          f"{STOP}; mv /etc/nsswitch.conf.away /etc/nsswitch.conf", STALE),
)  # fmt: skip
"""Under a policy that has a name in it."""
