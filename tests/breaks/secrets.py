"""Breaks of where credentials lie."""

from __future__ import annotations

from tests.breaks.model import RELOAD, UNIT, Break, file, over

HERE, MOUNT = "/run/secrets", "run-secrets.mount"
FOLDER = "/etc/hostguard/agent"
AGAIN = f"systemctl restart {MOUNT}"
ANEW = (
    f"umount {HERE}; mount -t tmpfs -o nosuid,nodev,noexec,size=16m,mode=0750,"
    f"uid=$(id -u vault-agent),gid=$(id -g envoy) tmpfs {HERE}"
)
D = f"{UNIT}/envoy.service.d"
KEY = "STRIPE_API_KEY=1"


def swap(name: str, row: str) -> Break:
    broken, mended = over("/proc/swaps", f"printf 'Filename Type Size Used Priority\\n{row}\\n'")
    return Break(name, f"{ANEW}; {broken}", f"{mended}; {AGAIN}", "secrets.swap")


BREAKS = (
    Break("overridden: a folder of the disk within",
          f"mkdir -p -m 700 /var/lib/x {HERE}/x; mount --bind /var/lib/x {HERE}/x", f"umount {HERE}/x; rmdir {HERE}/x",
          "secrets.mount"),
    Break("shadowed: a disk over it", f"mkdir -p -m 700 /var/lib/y; mount --bind /var/lib/y {HERE}", f"umount {HERE}",
          "secrets.mount"),
    Break("run time: programs may run there", f"mount -o remount,exec {HERE}", f"mount -o remount,noexec {HERE}",
          "secrets.mount"),
    Break("run time: twice the size", f"mount -o remount,size=32M {HERE}", f"mount -o remount,size=16M {HERE}",
          "secrets.mount"),
    Break("changed: its mode", f"chmod 755 {HERE}", f"chmod 750 {HERE}", "secrets.mount"),
    Break("changed: its owner", f"chown root {HERE}", f"chown vault-agent {HERE}", "secrets.mount"),
    Break("deleted: unmounted", f"umount {HERE}", AGAIN, "secrets.mount"),
    Break("disk only: a mount that nobody starts", f"systemctl disable {MOUNT}", f"systemctl enable {MOUNT}",
          "secrets.boot"),
    Break("disk only: what starts it is unlinked", f"rm {UNIT}/local-fs.target.wants/{MOUNT}",
          f"systemctl enable {MOUNT}", "secrets.boot"),
    Break("changed: an option of the unit", f"sed -i.away s/noexec/exec/ {UNIT}/{MOUNT}; {RELOAD}",
          f"mv {UNIT}/{MOUNT}.away {UNIT}/{MOUNT}; {RELOAD}", "secrets.boot"),
    Break("shadowed: a unit of the same name before ours",
          f"mkdir -p {UNIT}.control; sed s/noexec/exec/ {UNIT}/{MOUNT} > {UNIT}.control/{MOUNT}; {RELOAD}",
          f"rm -r {UNIT}.control; {RELOAD}", "secrets.boot"),
    Break("overridden: a condition of all mounts",
          *file(f"{UNIT}/mount.d/z.conf", "[Unit]", "ConditionPathExists=/nope", then=RELOAD), "secrets.boot"),
    swap("run time: without noswap, and a plain partition to swap to", "/dev/vda9 partition 1024 0 -2"),
    swap("changed: without noswap, and a file to swap to", "/swapfile file 1024 0 -2"),
    Break("changed: a secret that all may read", f"touch {HERE}/a; chmod 644 {HERE}/a", f"rm {HERE}/a",
          "secrets.permissions"),
    Break("changed: a folder that all may enter", f"mkdir -m 751 {HERE}/d", f"rmdir {HERE}/d", "secrets.permissions"),
    Break("shadowed: a secret that is a link to the disk", f"ln -s /var/lib/a {HERE}/a", f"rm {HERE}/a",
          "secrets.permissions"),
    Break("changed: a secret in a file of variables",
          f"echo {KEY} > /etc/default/envoy; printf '[Service]\\nEnvironmentFile=/etc/default/envoy\\n' > {D}/a.conf; "
          f"{RELOAD}", f"rm {D}/a.conf /etc/default/envoy; {RELOAD}", "secrets.environment"),
    Break("overridden: a secret in a drop-in",
          *file(f"{D}/a.conf", "[Service]", f'Environment="A=b" "{KEY}"', then=RELOAD), "secrets.environment"),
    Break("run time: a secret that systemd gives to all services", f"systemctl set-environment {KEY}",
          "systemctl unset-environment STRIPE_API_KEY", "secrets.environment"),
    Break("overridden: a secret among systemd's defaults",
          *file("/run/systemd/system.conf.d/a.conf", "[Manager]", f"DefaultEnvironment={KEY}",
                then="systemctl daemon-reexec"), "secrets.environment"),
    Break("run time: a service that keeps what its unit has no more",
          f"printf '[Service]\\nEnvironment={KEY}\\n' > {D}/a.conf; {RELOAD}; systemctl restart envoy; "
          f"rm {D}/a.conf; {RELOAD}", "systemctl restart envoy", "secrets.environment"),
)  # fmt: skip

AGENT, NOTE = "hostguard-agent.service", f"{HERE}/.agent/payments"
MENDS = f"systemctl restart {AGENT}"
KEYS = f"{HERE}/payments/new {HERE}/payments/old"
BAO = "HOME=/root BAO_ADDR=http://127.0.0.1:8200 BAO_TOKEN=root bao"
LATE = f"until [ $(($(date +%s) - $(stat -c %Y {NOTE}))) -gt 17 ]; do sleep 0.5; done"
FRESH = f"{MENDS}; until [ $(($(date +%s) - $(stat -c %Y {NOTE}))) -lt 3 ]; do sleep 0.2; done"
TO_SERVER = "OUTPUT -o lo -p tcp --dport 8200 -m owner --uid-owner vault-agent -j REJECT"
ARRIVED = f"until grep -q NEXT {HERE}/payments/new && grep -q LAST {HERE}/payments/old; do sleep 0.2; done"
ROTATE = f"{BAO} kv put secret/payments key=NEXT previous=LAST; {ARRIVED}"
ONE_KEY = f"{BAO} kv put secret/payments key=NEXT; until grep -q ^1 {NOTE}; do sleep 0.2; done"

OF_AGENT = (
    Break("changed: another server", f"sed -i.away s/8200/8300/ {FOLDER}/agent.json",
          f"mv {FOLDER}/agent.json.away {FOLDER}/agent.json", "secrets.agent"),
    Break("overridden: a drop-in that lets it write anywhere",
          *file(f"{UNIT}/{AGENT}.d/a.conf", "[Service]", "ProtectSystem=no", then=RELOAD), "secrets.agent"),
    Break("disk only: no boot starts it", f"systemctl disable --quiet {AGENT}", f"systemctl enable --quiet {AGENT}",
          "secrets.agent"),
    Break("run time: it runs on under what was mended since",
          f"sed -i.away 's/HOSTGUARD_MARK=/&0/' {FOLDER}/mark; {MENDS}; mv {FOLDER}/mark.away {FOLDER}/mark",
          MENDS, "secrets.agent"),
    Break("run time: nobody reaches the server", f"iptables -I {TO_SERVER}; {LATE}",
          f"iptables -D {TO_SERVER}; {FRESH}", "secrets.agent-fresh"),
    Break("run time: the agent hangs", f"systemctl kill --signal=STOP {AGENT}; {LATE}",
          f"systemctl kill --signal=CONT {AGENT}; {FRESH}", "secrets.agent-fresh"),
    Break("changed: the server lets it read something else",
          f"sed 's/[*]/mtls/' /root/reader.hcl | {BAO} policy write reader -; {LATE}",
          f"{BAO} policy write reader /root/reader.hcl; {FRESH}", "secrets.agent-fresh"),
    Break("changed: the old key is still at the server, days later", f"{ROTATE}; touch -d '-2 days' {KEYS}", ONE_KEY,
          "secrets.rotation"),
    Break("run time: the same, and the agent was started anew", f"{ROTATE}; touch -d '-2 days' {KEYS}; {FRESH}",
          ONE_KEY, "secrets.rotation"),
)  # fmt: skip
"""Under tests/breaks/agent.yml, beside an OpenBao."""
