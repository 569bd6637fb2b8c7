"""Errors as their reader needs them: in words on stderr, with the contract's exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence

from hostguard.status import Exit


class Stop(Exception):
    """The end of a command: what to say, and its exit code."""

    def __init__(self, exit_code: int, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.exit, self.lines = exit_code, lines


@contextlib.contextmanager
def host_errors(exit_code: int = Exit.UNSEEN) -> Iterator[None]:
    """What a host can't do or say becomes the end of the command."""
    from hostguard.cli import called
    from hostguard.host.resource import HostError, NotRoot

    try:
        yield
    except NotRoot as error:
        raise Stop(exit_code, [f"{error}: {called.again_as_root()}"]) from None
    except HostError as error:
        raise Stop(exit_code, [str(error)]) from None
    except PermissionError as error:
        raise Stop(exit_code, [f"{error.filename}: {error.strerror}: try as root: {called.again_as_root()}"]) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Stop(exit_code, [f"{where}{error.strerror or error}"]) from None


def need_one_of(option: str, found: str, known: Collection[str]) -> None:
    """Ends the command where an option has a value that it does not know."""
    if found not in known:
        raise Stop(Exit.CALL, [f"{option}: found {found!r}, expected one of {', '.join(known)}"])


def need_root(what: str) -> None:
    from hostguard.cli import called

    if not called.is_root():
        raise Stop(Exit.CALL, [f"{what} changes this host and needs root: {called.again_as_root()}"])
