"""Hosts by URI: what a URI may say, and how a question gets there."""

from __future__ import annotations

import os

import pytest

from hostguard.host.resource import HostError
from hostguard.target import local
from hostguard.target.remote import NoTarget, Remote, parse

SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=20")


@pytest.mark.parametrize(
    ("uri", "name", "way"),
    [
        ("ssh://web1", "web1", ("ssh", *SSH_OPTIONS, "--", "web1")),
        ("ssh://root@web1.example.com:2222", "web1.example.com",
         ("ssh", *SSH_OPTIONS, "-p", "2222", "-l", "root", "--", "web1.example.com")),
        ("ssh://ops@[2001:db8::1]", "2001:db8::1", ("ssh", *SSH_OPTIONS, "-l", "ops", "--", "2001:db8::1")),
        ("podman://My_App.1", "My_App.1", ("podman", "exec", "--interactive", "My_App.1", "sh", "-c")),
        ("docker://web", "web", ("docker", "exec", "--interactive", "web", "sh", "-c")),
        ("local://", local.name(), ("sh", "-c")),
    ],
)  # fmt: skip
def test_a_uri_names_a_host(uri: str, name: str, way: tuple[str, ...]) -> None:
    assert parse(uri) == Remote(name, way)


@pytest.mark.parametrize(
    "uri",
    [
        "", "web1", "http://web1", "ssh://", "ssh://-oProxyCommand=id", "ssh://a@-v", "ssh://-l@web1", "ssh://web1:0x16",
        "ssh://web1:99999", "ssh://web1/etc", "ssh://web1?x", "ssh://a:secret@web1", "ssh://web 1", "ssh://$(id)",
        "podman://", "podman://--privileged", "podman://a/b", "podman://a:1", "docker://a b", "docker://user@a", "local://x",
    ],
)  # fmt: skip
def test_what_names_none_is_refused(uri: str) -> None:
    with pytest.raises(NoTarget, match="expected local://, ssh://"):
        parse(uri)


def test_a_question_gets_there_and_back() -> None:
    bundle = {"resources": [], "areas": None, "evidence": {"kernel": {"collect": "uname"}}}
    answer = parse("local://").ask({"do": "read", "bundle": bundle})
    assert answer["evidence"]["kernel"]["said"] == list(os.uname())


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        (Remote("x", ("no-such-program",)), "no-such-program is not installed on this machine"),
        (Remote("x", ("sh", "-c", "echo 'no such container' >&2; exit 125", "sh")), "no such container"),
        pytest.param(parse("ssh://127.77.0.1:1"), "port 1: Connection refused", marks=pytest.mark.needs("account")),
    ],
)  # fmt: skip
def test_who_does_not_answer(remote: Remote, words: str) -> None:
    with pytest.raises(HostError, match=words):
        remote.ask({"do": "history"})
