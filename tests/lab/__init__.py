"""Throw-away hosts with systemd, for tests and for trying things out: `python -m tests.lab up NAME`."""

from tests.lab.difference import diff
from tests.lab.host import Backend, Host
from tests.lab.lab import Lab
from tests.lab.process import LabError, LabUnavailable

__all__ = ["Backend", "Host", "Lab", "LabError", "LabUnavailable", "diff"]
