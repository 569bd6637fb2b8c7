"""Which hosts an audit looks at: this one, those of an inventory, those that are named, or an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hostguard.cli import called, fleet
from hostguard.cli.failure import Stop, host_errors
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.cli.fleet import Compiler
    from hostguard.fleet.engine import Target
    from hostguard.policy.load import LoadedPolicy
    from hostguard.survey import Looked
    from hostguard.target.bounded import Limits
    from hostguard.target.remote import Remote
    from hostguard.waivers import Scope

AT_ONCE = 50


class Targets(Protocol):
    elsewhere: ClassVar[bool]
    """Whether other hosts are meant than this one."""

    def look(self, loaded: LoadedPolicy, compiler: Compiler | None = None) -> list[Looked]:
        """What is seen of each host, asked for what `compiler` makes of its policy: all controls, if none is said."""

    def ask(self, request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """One question to each host; {"error": …} from one that has no answer."""

    def scope(self) -> Scope: ...

    def as_root(self) -> str:
        """How to ask the same again as root; "" where that was done."""


def chosen(
    inventory: Sequence[str] | None,
    host: Sequence[str] | None,
    rootfs: Path | None,
    *,
    sudo: bool,
    limit: str | None,
    forks: int | None,
    answer_within: str | None,
    answer_size: str | None,
) -> Targets:
    """The targets that the options name. Ends the command where they contradict each other."""
    if sum(map(bool, (inventory, host, rootfs))) > 1:
        raise Stop(Exit.CALL, ["--inventory, --host and --rootfs: one of them at a time"])
    if sudo and not host:
        raise Stop(Exit.CALL, ["--sudo: only with --host (with an inventory: ansible_become)"])
    if not (inventory or host) and (answer_within or answer_size):
        raise Stop(Exit.CALL, ["--answer-within, --answer-size: only with --host or -i: they are for other hosts"])
    limits = fleet.limits(answer_within, answer_size)
    if inventory:
        return OfInventory(fleet.target(inventory, limit, forks, limits))
    if limit or (forks and not host):
        fleet.only_with_inventory(limit=limit, forks=None if host else forks)
    if host:
        return Named(named(host, sudo=sudo, limits=limits), forks or AT_ONCE)
    return Image(rootfs) if rootfs else ThisHost()


@dataclass(frozen=True)
class ThisHost:
    elsewhere: ClassVar[bool] = False

    def look(self, loaded: LoadedPolicy, compiler: Compiler | None = None) -> list[Looked]:
        from hostguard.bundle import compile_policy
        from hostguard.cli import screen
        from hostguard.seen import Seen
        from hostguard.survey import Looked
        from hostguard.target import local

        compiled = (compiler or compile_policy)(loaded)
        bundle = compiled.bundle()
        with screen.progress(), host_errors():
            return [Looked(local.name(), compiled, Seen.of(bundle, local.read(bundle)))]

    def ask(self, request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        from hostguard.target import local

        with host_errors():
            return {local.name(): local.ask(dict(request))}

    def scope(self) -> Scope:
        from hostguard.waivers import Scope

        return Scope.ONE

    def as_root(self) -> str:
        return "" if called.is_root() else called.again_as_root()


@dataclass(frozen=True)
class OfInventory:
    elsewhere: ClassVar[bool] = True

    target: Target

    def look(self, loaded: LoadedPolicy, compiler: Compiler | None = None) -> list[Looked]:
        return fleet.look(loaded, self.target, compiler=compiler)

    def ask(self, request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return dict(sorted(fleet.ask(self.target, request)))

    def scope(self) -> Scope:
        from hostguard.waivers import Scope

        return Scope.PART if self.target.limit else Scope.FLEET

    def as_root(self) -> str:
        return "ansible_become: true in the inventory"


@dataclass(frozen=True)
class Named:
    """Each by its own way, all at once."""

    elsewhere: ClassVar[bool] = True

    remotes: Sequence[Remote]
    at_once: int

    def look(self, loaded: LoadedPolicy, compiler: Compiler | None = None) -> list[Looked]:
        from hostguard.bundle import compile_policy
        from hostguard.seen import Seen, in_words_of
        from hostguard.survey import Looked

        compiled = (compiler or compile_policy)(loaded)
        bundle = compiled.bundle()
        found: list[Looked] = []
        for name, answer in self.ask({"do": "read", "bundle": bundle}).items():
            try:
                seen = answer["error"] if "error" in answer else Seen.of(bundle, answer)
            except Exception as error:  # whatever one host is, the others are told of
                seen = f"its answer can't be read: {in_words_of(error)}"
            found.append(Looked(name, compiled, seen))
        return found

    def ask(self, request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        from concurrent.futures import ThreadPoolExecutor

        from hostguard.cli import screen
        from hostguard.host.resource import HostError
        from hostguard.seen import in_words_of

        def asked(remote: Remote) -> dict[str, Any]:
            try:
                return remote.ask(request)
            except HostError as error:
                return {"error": str(error)}
            except Exception as error:  # whatever one host is, the others are told of
                return {"error": f"it could not be asked: {in_words_of(error)}"}

        with screen.progress() as progress, ThreadPoolExecutor(self.at_once) as pool:
            progress(f"asking {', '.join(remote.name for remote in self.remotes[:3])}")
            answers = list(pool.map(asked, self.remotes))
        return {remote.name: answer for remote, answer in zip(self.remotes, answers, strict=True)}

    def scope(self) -> Scope:
        from hostguard.waivers import Scope

        return Scope.PART

    def as_root(self) -> str:
        return "" if all(remote.sudo for remote in self.remotes) else "with --sudo"


@dataclass(frozen=True)
class Image:
    elsewhere: ClassVar[bool] = True

    folder: Path

    def look(self, loaded: LoadedPolicy, compiler: Compiler | None = None) -> list[Looked]:
        from hostguard.bundle import compile_policy
        from hostguard.seen import Seen
        from hostguard.survey import Looked
        from hostguard.target import rootfs

        compiled = (compiler or compile_policy)(loaded)
        bundle = compiled.bundle()
        with host_errors(Exit.CALL):
            return [Looked(str(self.folder), compiled, Seen.of(bundle, rootfs.read(self.folder, bundle), image=True))]

    def ask(self, request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        raise Stop(
            Exit.CALL, [f"{self.folder}: an image has no answer to {request['do']!r}: nothing was applied to it"]
        )

    def scope(self) -> Scope:
        from hostguard.waivers import Scope

        return Scope.PART

    def as_root(self) -> str:
        return ""  # who may not change its root sees nothing of it


def named(uris: Sequence[str], *, sudo: bool, limits: Limits | None = None) -> list[Remote]:
    from hostguard.target import bounded, remote

    try:
        found = [remote.parse(uri, sudo=sudo, limits=limits or bounded.USUAL) for uri in uris]
    except remote.NoTarget as error:
        raise Stop(Exit.CALL, [f"--host: {error}"]) from None
    names = [each.name for each in found]
    again = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if again:
        raise Stop(Exit.CALL, [f"--host: {again} is there twice, expected each host once"])
    return found
