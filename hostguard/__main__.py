"""`python -m hostguard`."""

from hostguard.cli.main import run

run()
