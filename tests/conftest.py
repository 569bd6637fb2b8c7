"""Makes `tests` importable from every test, and gives all of them the lab."""

from tests.lab.fixture import lab, lab_host  # noqa: F401
