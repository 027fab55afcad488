"""What is done in a round: receive, send, both, and the latency of one study on an idle system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.corpus import Corpus, Study
from benchmarks.ends import Receiver, Sending, Sent, order
from benchmarks.measure import Meter, Round
from benchmarks.systems.imex import KEPT
from benchmarks.systems.port import System

WITHIN_S = 120.0

Batch = Sequence[Sequence[Study]]
"""For each association its studies."""


def uids_of(batch: Batch) -> frozenset[str]:
    """All SOP Instance UIDs of a batch."""
    return frozenset(uid for studies in batch for study in studies for uid in study.uids)


@dataclass(frozen=True)
class Bench:
    """A system under test between the two ends."""

    system: System
    receiver: Receiver
    meter: Meter

    def send(self, corpus: Corpus, batch: Batch, calling: str) -> Sent:
        """Send a batch to the system; raises SendingFailed."""
        return Sending(order(corpus, self.system.port, calling, self.system.called, batch)).result()


def end_to_end(bench: Bench, corpus: Corpus, batch: Batch, calling: str) -> Round:
    """From the first byte sent to the answer for the last instance at the receiver."""
    uids = uids_of(batch)
    before = bench.meter.at_rest()
    bench.receiver.expect(len(uids))
    sent = bench.send(corpus, batch, calling)
    bench.system.taken(batch)
    arrived = bench.receiver.wait(uids, WITHIN_S)
    spent = bench.meter.spent_ms(before, bench.meter.at_rest(), len(uids), arrived.last)
    ends = {"sender": 1000 * sent.cpu_s / len(uids), "receiver": 1000 * arrived.cpu_s / len(uids)}
    return Round(len(uids), arrived.last - sent.first, spent | ends)


def receive_only(bench: Bench, corpus: Corpus, batch: Batch) -> Round:
    """From the first byte sent to the answer for the last instance at the sender."""
    images = len(uids_of(batch))
    before = bench.meter.at_rest()
    with bench.system.receiving_only() as calling:
        sent = bench.send(corpus, batch, calling)
        spent = bench.meter.spent_ms(before, bench.meter.read(), images, sent.last)
    return Round(images, sent.last - sent.first, spent | {"sender": 1000 * sent.cpu_s / images})


def receive_while_working(bench: Bench, corpus: Corpus, batch: Batch) -> Round:
    """The same with Imex's other services at work meanwhile on what comes in, though no rule sends it on."""
    images = len(uids_of(batch))
    before = bench.meter.at_rest()
    sent = bench.send(corpus, batch, KEPT)
    spent = bench.meter.spent_ms(before, bench.meter.at_rest(), images, sent.last)
    return Round(images, sent.last - sent.first, spent | {"sender": 1000 * sent.cpu_s / images})


def send_only(bench: Bench, corpus: Corpus, images: int) -> Round:
    """A study that is already there: from the association's request to the last answer at the receiver."""
    study = corpus.study(images)
    bench.meter.at_rest()
    bench.receiver.expect(images)
    bench.system.hold_and_send(corpus, study)
    arrived = bench.receiver.wait(study.uids, WITHIN_S)
    return Round(images, arrived.last - arrived.associated, {"receiver": 1000 * arrived.cpu_s / images})


@dataclass(frozen=True)
class Latency:
    """Seconds from the first byte of the first C-STORE to the receiver's answers."""

    first: float
    last: float


def latency(bench: Bench, corpus: Corpus, slices: int, calling: str) -> Latency:
    """One study on one association on an idle system."""
    study = corpus.study(slices)
    bench.meter.at_rest()
    bench.receiver.expect(slices)
    sent = bench.send(corpus, [[study]], calling)
    arrived = bench.receiver.wait(study.uids, WITHIN_S)
    return Latency(arrived.first - sent.first, arrived.last - sent.first)
