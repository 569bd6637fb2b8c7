from tests.lab.fixture import lab, lab_host  # noqa: F401
