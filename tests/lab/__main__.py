"""Lab hosts by hand. They stay until they are taken down, and see each other.

examples:
  python -m tests.lab up web --backend legacy
  python -m tests.lab shell web [COMMAND ...]
  python -m tests.lab machine vm
  python -m tests.lab list
  python -m tests.lab down web
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from tests.lab import image, kept
from tests.lab.host import PODMAN, PYTHON_SETTINGS, Host
from tests.lab.lab import KEEP, OWNER, Lab, clean_up, owners
from tests.lab.process import LabError


def main() -> int:
    arguments = _parser().parse_args()
    try:
        arguments.do(Lab(os.environ.get(OWNER, KEEP)), arguments)
    except LabError as error:
        print(f"hostguard-lab: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    up = verbs.add_parser("up", help="start a host")
    up.add_argument("name")
    up.add_argument("--backend", choices=("nft", "legacy"), default="nft", help="of iptables (default: nft)")
    up.add_argument("--suite", default="bookworm", help="Debian release (default: bookworm)")
    up.set_defaults(do=_up)

    image_ = verbs.add_parser("image", help="build an image unless it is there, and print its name")
    image_.add_argument("suite", nargs="?", default="bookworm")
    image_.set_defaults(do=_image)

    prepare = verbs.add_parser("prepare", help="make a host's network, and print how podman starts it (JSON)")
    prepare.add_argument("name")
    prepare.add_argument("--suite", default="bookworm", help="Debian release (default: bookworm)")
    prepare.set_defaults(do=_prepare)

    machine = verbs.add_parser("machine", help="start a virtual machine, and print where its SSH listens (JSON)")
    machine.add_argument("name")
    machine.set_defaults(do=_machine)

    shell = verbs.add_parser("shell", help="a shell, or one command, in a host")
    shell.add_argument("name")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    shell.set_defaults(do=_shell)

    reboot = verbs.add_parser("reboot", help="reboot a host")
    reboot.add_argument("name")
    reboot.set_defaults(do=_reboot)

    verbs.add_parser("list", help="show the hosts").set_defaults(do=_list)

    down = verbs.add_parser("down", help="remove a host, or all of them when none is named")
    down.add_argument("name", nargs="?")
    down.add_argument("--if-there", action="store_true", help="no error where there is no such host")
    down.add_argument("--all", action="store_true", help="also those of tests that are running right now")
    down.set_defaults(do=_down)
    return parser


def _up(lab: Lab, arguments: argparse.Namespace) -> None:
    if arguments.name in lab.names():
        raise LabError(f"{arguments.name} is up already")
    lab.start()
    host = lab.host(arguments.name, backend=arguments.backend, suite=arguments.suite)
    print(_described(host))


def _image(_: Lab, arguments: argparse.Namespace) -> None:
    print(image.ensure(arguments.suite))


def _prepare(lab: Lab, arguments: argparse.Namespace) -> None:
    lab.start()
    host = lab.prepare(arguments.name, suite=arguments.suite)
    found = {
        "name": host.container,
        "address": host.address.ipv4,
        "world": lab.world.name,
        "podman": list(PODMAN),
        "run": host.command(),
    }
    print(json.dumps(found))


def _machine(lab: Lab, arguments: argparse.Namespace) -> None:
    print(kept.start(lab.owner, arguments.name), end="")


def _shell(lab: Lab, arguments: argparse.Namespace) -> None:
    host = lab.find(arguments.name)
    settings = [f"--env={name}={value}" for name, value in PYTHON_SETTINGS.items()]
    terminal = ["--tty"] if sys.stdin.isatty() else []
    command = arguments.command or ["bash", "-l"]
    argv = [*PODMAN, "exec", "--interactive", *terminal, *settings, host.container, *command]
    os.execvp(argv[0], argv)  # noqa: S606


def _reboot(lab: Lab, arguments: argparse.Namespace) -> None:
    host = lab.find(arguments.name)
    host.reboot()
    print(_described(host))


def _list(lab: Lab, _: argparse.Namespace) -> None:
    for name in lab.names():
        print(_described(lab.find(name)))
    for name in kept.names(lab.owner):
        print(f"{name:12} machine")


def _down(lab: Lab, arguments: argparse.Namespace) -> None:
    if arguments.all:
        kept.end("*")
        for owner in owners():
            clean_up(owner)
    elif arguments.name:
        if kept.end(lab.owner, arguments.name):
            return
        if not arguments.if_there:
            lab.find(arguments.name)
        lab.remove(arguments.name)
        if not lab.names():
            lab.stop()
    else:
        kept.end(lab.owner)
        lab.stop()


def _described(host: Host) -> str:
    address = host.address
    return f"{host.hostname:12} {host.state():9} {address.ipv4:12} {address.ipv6:18} {host.container}"


if __name__ == "__main__":
    sys.exit(main())
