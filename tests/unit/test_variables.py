"""Names of variables, and never a piece of a value: a key's base64 ends with what looks like an assignment."""

from __future__ import annotations

import pytest

from hostguard.host.evidence.services import names_in_file, names_shown

KEY = "5ecretc2VjcmV0"


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ("A=1 B_2=", ["A", "B_2"]),
        (f'"A=Bearer {KEY}==" B=1', ["A", "B"]),
        (f'"A=it is \\"{KEY}=\\" {KEY}=" B=1', ["A", "B"]),
        (f'"A=it\'s {KEY}=" B=1', ["A", "B"]),
        (f"$'A=1\\n{KEY}=2' B=1", ["A", "B"]),
        (f"A='{KEY}= {KEY}=' B=1", ["A", "B"]),
        (f"A=\\ {KEY}= B=1", ["A", "B"]),
        ("", []),
    ],
)
def test_of_what_systemctl_shows(shown: str, names: list[str]) -> None:
    assert names_shown(shown) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A=1\nB = 2\n  C=3\n", ["A", "B", "C"]),
        (f"# X=1\n; Y=1 \\\n{KEY}=\nA=1\n", ["A"]),
        (f'A="-----BEGIN KEY-----\n{KEY}==\n-----END KEY-----"\nB=1\n', ["A", "B"]),
        (f"A='\n{KEY}='\nB=1\n", ["A", "B"]),
        (f"A=1 \\\n{KEY}=\nB=1\n", ["A", "B"]),
        (f'A="\\"\n{KEY}=\n"\nB=1\n', ["A", "B"]),
        ("A=it's\nB=isn't\n", ["A", "B"]),
        (f'A="never closed\n{KEY}=\n', ["A"]),
        (f"A={KEY}= {KEY}=\nexport C=1\n", ["A"]),
        ("A=\\", ["A"]),
    ],
)
def test_of_a_file_of_variables(text: str, names: list[str]) -> None:
    assert names_in_file(text) == names
