"""What is no YAML: where, the line itself, and what it mostly is."""

from __future__ import annotations

import pytest

from hostguard.policy.document import NotADocument, read

HEAD = "version: 1\n"


@pytest.mark.parametrize(
    ("text", "place", "found", "expected", "excerpt"),
    [
        ("egress:\n\tmode: enforce\n", (3, 1), "a tab before the text", "blanks", "  3 | \\tmode: enforce\n    | ^"),
        ("egress:\n  mode:enforce\n  via: direct\n", (3, 8), "no blank behind `mode:`", "`mode: …`", "  mode:enforce"),
        ("egress:\n  proxy_user: @envoy\n", (3, 15), "text that begins with @", "in quotes", "proxy_user: @envoy"),
        ("egress:\n  resolvers: [10.0.0.2\n  via: x\n", (3, 14), "a `[` without its `]`", "a `]`", "[10.0.0.2\n"),
        ("egress:\n  via: direct\n   mode: x\n", (4, 4), "indented like none above it", "the blanks", "   mode: x\n"),
        ("platform:\n  aes: a: b\n", (3, 9), "a second colon", "in quotes", "aes: a: b\n    |         ^"),
        ('secrets:\n  mode: "0750\n  size: 16M\n', (3, 9), 'a " that is not closed', 'a "', '"0750'),
        ("platform: {aes: off}}\n", (2, 21), "a `}` without its `{`", "a `{`", "off}}"),
        ("secrets: \x1b[31m\n", (2, 0), "control characters are not allowed", "text", ""),
        ("kernel: {a: 'é', b: @x}\n", (2, 21), "text that begins with @", "in quotes", "'\\xe9'"),
        ("x" * 300 + ": @y\n", (2, 303), "text that begins with @", "in quotes", "x: @y"),
    ],
)
def test_the_place_and_the_usual_cause(
    text: str, place: tuple[int, int], found: str, expected: str, excerpt: str
) -> None:
    with pytest.raises(NotADocument) as raised:
        read((HEAD + text).encode())
    error = raised.value
    assert (error.line, error.column) == place
    assert found in error.found
    assert expected in error.expected
    assert excerpt in error.excerpt + "\n"
    assert all(len(line) < 140 and line.isprintable() for line in error.excerpt.splitlines())
    if error.excerpt:
        line, caret = error.excerpt.splitlines()
        assert caret.index("|") == line.index("|")
        assert caret.endswith("^")
