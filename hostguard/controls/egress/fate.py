"""What becomes of one new connection in the rules of a host (pure).

Its first packet is walked through every chain that it passes, as the kernel walks it. Where a rule asks for what is not
known here (a module of another tool's, a mark, a rate), both ways are gone: only where all of them end alike is the end
told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hostguard.controls.egress.foreign import Chain, Covers, Packet, Rule
from hostguard.controls.egress.passage import END, IN, OURS, OUT

LOOPBACK = "lo"


@dataclass(frozen=True)
class Fate:
    """`may` None: that can't be told. `by` is the rule that drops it or lets it out, None where no rule does; `unsure`
    are those of which it is not known whether they hold for it."""

    may: bool | None
    by: Rule | None = None
    unsure: tuple[Rule, ...] = ()


def fate(chains: Iterable[Chain], packet: Packet, device: str) -> Fate:
    """Of a packet that leaves by `device`: where that is the loopback, it comes in again."""
    known = tuple(chains)
    unsure: list[Rule] = []
    maybe: set[str] = set()
    accepting: list[Rule] = []
    returning: list[Rule] = []
    for hook in (*OUT, *(IN if device == LOOPBACK else ())):
        packet = replace(packet, devices=("", device) if hook in OUT else (device, ""))
        for base in sorted((each for each in known if each.hook == hook), key=lambda each: each.priority):
            walk = _Walk(packet, {chain.name: chain for chain in known if chain.table == base.table})
            ends = walk.ends(base)
            packet = walk.packet
            how = {end.does for end in ends}
            if how == {"drop"}:
                # What was sent elsewhere is another's packet by now.
                return Fate(None if maybe & {"elsewhere", "unknown"} else False, ends[-1], tuple(unsure))
            if how == {"elsewhere"}:
                return Fate(None, ends[-1], tuple(unsure))
            if how & {"drop", "elsewhere", "unknown"}:
                unsure += walk.unsure
                maybe |= how
            else:
                returning += walk.returning
                accepting += [end for end in ends[-1:] if end.does == "accept"]  # the last one is certain
    accepting.sort(key=lambda rule: OURS not in rule.text)
    # To a port of the gateway one is let by the chain that stands before, and to all of the loopback by ours.
    by = next(iter([*returning, *accepting] if packet.to_us else accepting), None)
    return Fate(None if maybe else True, by, tuple(dict.fromkeys(unsure)))


@dataclass
class _Walk:
    """A way through a base chain and those that it leads to. `returning` are rules of ours that certainly end one of
    ours, and `unsure` those that may change the end."""

    packet: Packet
    inside: Mapping[str, Chain]
    unsure: list[Rule] = field(default_factory=list)
    returning: list[Rule] = field(default_factory=list)

    def ends(self, base: Chain) -> list[Rule]:
        """Every rule that it may end at; one that says `on` where it goes on to the next base chain."""
        policy = Rule(f"the policy of `{base.title}`", (), "drop") if base.policy == "drop" else END
        return [policy if end is END else end for end in self._through(base, ())]

    def _through(self, chain: Chain, above: tuple[str, ...]) -> list[Rule]:
        found: list[Rule] = []
        for rule in chain.rules:
            covers = rule.covers(self.packet)
            if covers is Covers.NO or rule.does == "on":
                continue
            if rule.does == "notrack":
                self.packet = replace(self.packet, state="UNTRACKED" if covers is Covers.ALL else "", direction="")
                continue
            ends = self._of(rule, (*above, chain.name))
            if covers is Covers.SOME:
                self.unsure += [rule] if ends != [END] or rule.does in ("return", "goto") else []
                found += [end for end in ends if end is not END or rule.does in ("return", "goto")]
            elif rule.does == "jump":
                found += [end for end in ends if end is not END]
                if END not in ends:
                    return found
            else:
                if rule.does == "return" and chain.name.startswith(OURS):
                    self.returning.append(rule)
                return [*found, *ends]
        return [*found, END]

    def _of(self, rule: Rule, above: tuple[str, ...]) -> list[Rule]:
        """Where a rule leads that holds."""
        if rule.does in ("jump", "goto"):
            inside = self.inside.get(rule.chain)
            if inside is None or rule.chain in above:
                self.unsure.append(rule)
                return [replace(rule, does="unknown")]
            return self._through(inside, above)
        if rule.does == "unknown":
            self.unsure.append(rule)
        return [END] if rule.does == "return" else [rule]
