"""The cases: each by a name of its own, with a sender, and in the document as it is."""

from __future__ import annotations

import re
import socket

from hostguard.attack import page
from hostguard.attack.case import WHO
from hostguard.attack.cases import CASES
from hostguard.host.attack import fire, packets
from hostguard.host.attack.shot import Shot, shows, signs
from hostguard.host.attack.sockets import SETTINGS

ENDS = {4: ("198.51.100.66", "198.18.0.1"), 6: ("2001:db8:bad::66", "fd68::1")}


def test_the_page_is_what_the_cases_say() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page()


def test_each_case_has_a_name_of_its_own_and_somebody_who_fires_it() -> None:
    names = [case.id for case in CASES]
    assert len(names) == len(set(names))
    for case in CASES:
        assert re.fullmatch(r"[a-z0-9]+\.[a-z0-9.-]+", case.id)
        assert case.who in WHO
        assert case.way in {*fire.WAYS, "answer", "flow", "tun"}
        assert set(case.options.get("set", ())) <= set(SETTINGS)


def test_a_packet_by_hand_carries_its_token_and_sound_checksums() -> None:
    made = 0
    for case in CASES:
        for version in case.families:
            if case.way not in ("header", "frame", "tun") or case.options.get("kind"):
                continue
            address, own = ENDS[version]
            shot = Shot(case.way, address, case.port, 20001 + made, own, options=dict(case.options))
            whole = packets.packets(shot)
            assert any(shot.token in packet for packet in whole), case.id
            if version == 4:
                length = (whole[0][0] & 0xF) * 4
                assert packets.checksum(whole[0][:length]) == 0, case.id
            made += 1
    assert made > 100


def test_a_transport_has_the_checksum_that_another_reader_computes() -> None:
    # RFC 1071's own example.
    assert packets.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    shot = Shot("header", "198.51.100.66", 9, 20001, "198.18.0.1")
    text = packets.udp(shot, shot.source)
    pseudo = socket.inet_aton(shot.source) + socket.inet_aton(shot.address) + bytes([0, 17]) + text[4:6]
    assert packets.checksum(pseudo + text) == 0


def test_no_frame_is_taken_for_another_s() -> None:
    first, second = (Shot("header", "198.51.100.66", 9, mark, "198.18.0.1") for mark in (20001, 20002))
    frame = packets.packets(first)[0]
    assert shows(frame, signs(first.mark, 9), [])
    assert not shows(frame, signs(second.mark, 9), [])
    assert not shows(frame, signs(first.mark, 9), [packets.packed("192.0.2.1")])
