"""What leaves as an answer: to somebody outside who began, or in a connection that was there before the rules."""

from __future__ import annotations

from functools import partial

from hostguard.attack.case import Case, case

ANSWERED = "replies leave for sanctioned callers, from sanctioned ports"
REVOKED = "a flow counts for nothing: its destination is looked up for each packet"
answer = partial(case, who="peer", layer="answers", held_by=ANSWERED)
flow = partial(case, layer="flows", held_by=REVOKED)

CASES: tuple[Case, ...] = (
    answer("answers.hidden", tries="a TCP service on a port that nobody sanctioned", way="answer", port=4444),
    answer("answers.stranger", tries="a sanctioned TCP port, to a stranger", way="answer", port=22),
    answer("answers.hidden-udp", tries="a UDP service on a port that nobody sanctioned", way="answer", port=4444,
           protocol="udp"),
    answer("answers.closed", tries="a TCP port that is closed: RST", way="answer", port=4445, listens=False),
    answer("answers.closed-udp", tries="a UDP port that is closed: an ICMP error that quotes", way="answer", port=4445,
           protocol="udp", listens=False),
    answer("answers.ping", tries="a ping: its data comes back", way="answer", port=0, protocol="icmp"),
    answer("answers.protocol", tries="a protocol that nobody speaks: an ICMP error that quotes", way="answer", port=0,
           protocol="other"),
    flow("flows.tcp", "application", "data in a TCP connection that was open before", "flow", protocol="tcp",
         port=4446),
    flow("flows.tcp-acks", "application", "acknowledgements of what comes in on such a connection", "flow",
         protocol="tcp", pushed=True, port=4446),
    flow("flows.udp", "application", "data in a UDP flow that was answered before", "flow", protocol="udp", port=4446),
    flow("flows.accepted", "root", "data to a stranger who was connected before", "flow", protocol="accepted",
         port=22),
)  # fmt: skip
