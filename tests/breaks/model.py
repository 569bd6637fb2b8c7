"""What a break is."""

from __future__ import annotations

from dataclasses import dataclass

NATURES = ("changed", "deleted", "overridden", "shadowed", "run time", "disk only")


@dataclass(frozen=True)
class Break:
    """`broken` and `mended` are shell scripts that root runs on the host; `control` is the one that must fail. The
    name begins with the nature of the break."""

    name: str
    broken: str
    mended: str
    control: str

    def __post_init__(self) -> None:
        assert self.nature in NATURES, self.name

    @property
    def nature(self) -> str:
        return self.name.partition(":")[0]


UNIT = "/etc/systemd/system"
RELOAD = "systemctl daemon-reload"


def file(path: str, *lines: str, then: str = "true") -> tuple[str, str]:
    """The scripts that write a file, and the folder on the way to it, and take both away."""
    text = "".join(f"{line}\\n" for line in lines).replace("%", "%%")
    folder = path.rpartition("/")[0]
    write = f"mkdir -p {folder}; printf '{text}' > {path}; {then}"
    return write, f"rm {path}; rmdir --ignore-fail-on-non-empty {folder}; {then}"


def away(path: str, then: str = "true") -> tuple[str, str]:
    """The scripts that take a file away and put it back."""
    return f"mv {path} /root/away; {then}", f"mv /root/away {path}; {then}"


def over(path: str, how: str) -> tuple[str, str]:
    """The scripts that mount what `how` makes of a file over that file, and unmount it."""
    return f"{how} > /run/over; mount --bind /run/over {path}", f"umount {path}; rm /run/over"
