"""What is done in a round: receive, send, both, and the latency of one study on an idle system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.corpus import Corpus, Study
from benchmarks.ends import Receiver, Sending, order
from benchmarks.measure import Round, at_rest, spent_ms
from benchmarks.systems.port import System

WITHIN_S = 300.0


def uids_of(associations: Sequence[Sequence[Study]]) -> frozenset[str]:
    """All SOP Instance UIDs of a batch."""
    return frozenset(uid for studies in associations for study in studies for uid in study.uids)


def end_to_end(
    system: System, receiver: Receiver, corpus: Corpus, associations: Sequence[Sequence[Study]], calling: str
) -> Round:
    """From the first byte sent to the answer for the last instance at the receiver."""
    uids = uids_of(associations)
    before = at_rest(system.processes)
    receiver.expect(len(uids))
    sent = Sending(order(corpus, system.port, calling, system.called, associations)).result()
    arrived = receiver.wait(uids, WITHIN_S)
    spent = spent_ms(before, at_rest(system.processes), len(uids))
    ends = {"sender": 1000 * sent.cpu_s / len(uids), "receiver": 1000 * arrived.cpu_s / len(uids)}
    return Round(len(uids), arrived.last - sent.first, spent | ends)


@dataclass(frozen=True)
class Latency:
    """Seconds from the first byte of the first C-STORE to the receiver's answers."""

    first: float
    last: float


def latency(system: System, receiver: Receiver, corpus: Corpus, slices: int, calling: str) -> Latency:
    """One study on one association on an idle system."""
    study = corpus.study(slices)
    at_rest(system.processes)
    receiver.expect(slices)
    sent = Sending(order(corpus, system.port, calling, system.called, [[study]])).result()
    arrived = receiver.wait(study.uids, WITHIN_S)
    return Latency(arrived.first - sent.first, arrived.last - sent.first)
