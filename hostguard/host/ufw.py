"""ufw's own files, and their settings."""

from __future__ import annotations

import re
from typing import Optional

CONF, DEFAULTS, SYSCTL = "/etc/ufw/ufw.conf", "/etc/default/ufw", "/etc/ufw/sysctl.conf"


def assigned(text: Optional[str], name: str) -> str:
    """The last value of a shell variable in a file of settings, in lower case only where it says yes or no."""
    values = re.findall(r"^[ \t]*{}=[\"']?([^\"'\s#]*)".format(name), text or "", re.MULTILINE)
    value = str(values[-1]) if values else ""
    return value.lower() if value.lower() in ("yes", "no") else value


def enabled(conf: Optional[str]) -> bool:
    """Whether ufw starts at boot, by the text of CONF."""
    return assigned(conf, "ENABLED") == "yes"
