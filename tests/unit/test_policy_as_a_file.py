"""What is written down of a policy for a host to read means there what it means here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostguard.ansible.actions.policy import as_file
from hostguard.policy import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
OVERLAYS: dict[str, dict[str, Any]] = {
    "words that YAML 1.1 makes others of": {
        "platform": {"fips": "off", "aes": "off", "kernel_min": "5.10", "openssl_min": "3.0"},
        "secrets": {"mode": "0700", "size": "1G"},
        "kernel": {"net.ipv4.ip_local_port_range": "10240 65535", "net.core.somaxconn": 5000},
    },
    "lists, dates and text": {
        "egress": {"resolvers": ["2001:db8::2", "10.0.0.2"], "providers": {"on": {"cidrs": ["203.0.113.9/32"]}}},
        "waivers": [
            {"control": "kernel.*", "hosts": ["db*"], "reason": "é: # 'x' \"y\"", "by": "no", "expires": "2026-12-31"}
        ],
        "capacity": {"peak_rps": 2000.5, "p99": "800ms"},
    },
}


def reread(text: str, folder: Path) -> load.LoadedPolicy:
    path = folder / "policy.yml"
    path.write_bytes(text.encode())
    return load.load(path)


def test_a_file_that_nothing_refines_stays_as_it_is(tmp_path: Path) -> None:
    loaded = load.load(EXAMPLE)
    there = reread(as_file(loaded), tmp_path)
    assert (there.sha256, there.lines, there.policy) == (loaded.sha256, loaded.lines, loaded.policy)


@pytest.mark.parametrize("overlay", OVERLAYS.values(), ids=OVERLAYS)
def test_refinements_are_written_into_it(overlay: dict[str, Any], tmp_path: Path) -> None:
    loaded = load.load(EXAMPLE, [("group_vars", overlay)])
    assert loaded.policy != load.load(EXAMPLE).policy
    assert reread(as_file(loaded), tmp_path).policy == loaded.policy


def test_a_variable_alone_becomes_a_file(tmp_path: Path) -> None:
    loaded = load.of_variables(OVERLAYS["words that YAML 1.1 makes others of"], "hostguard_policy")
    assert reread(as_file(loaded), tmp_path).policy == loaded.policy
