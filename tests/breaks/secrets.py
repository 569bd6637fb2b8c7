"""Breaks of where credentials lie."""

from __future__ import annotations

from tests.breaks.model import RELOAD, UNIT, Break, file, over

HERE, MOUNT = "/run/secrets", "run-secrets.mount"
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
