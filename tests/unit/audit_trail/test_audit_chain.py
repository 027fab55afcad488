"""A trail that was tampered with shows it, and one that was not does not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.audit.decide import append, readers
from imex.audit_trail import (
    GENESIS,
    Break,
    Checkpoint,
    Head,
    Record,
    Verifier,
    checkpoint_hash,
    record_hash,
)
from imex.events.audit import Actor, AuditRecorded, AuditRecordedData

Personal = dict[int, dict[str, tuple[bytes, str | None]]]


@dataclass
class Trail:
    """A trail in memory: one chain, and checkpoints."""

    records: list[Record]
    personal: Personal
    checkpoints: list[Checkpoint]
    head: Head

    def breaks(self) -> list[Break]:
        verifier = Verifier([self.head], self.checkpoints)
        for record in self.records:
            verifier.feed(record, self.personal.get(record.sequence))
        return verifier.finish()


def event(user: str = "jane") -> AuditRecorded:
    return AuditRecorded.of(
        id=uuid4(),
        subject="1.2.3",
        time=datetime(2026, 3, 2, tzinfo=UTC),
        data=AuditRecordedData(
            action="share_viewed",
            outcome="success",
            actor=Actor(kind="person", id="a1", institution="RT3"),
            study_uid="1.2.3",
            source="RQM",
            personal={"user": user},
        ),
    )


def trail(length: int, checkpoint_every: int = 2) -> Trail:
    head = Head(0, 0, GENESIS)
    made = Trail([], {}, [], head)
    for number in range(1, length + 1):
        appended = append(event(), made.head, lambda size: b"s" * size)
        made.records.append(appended.record)
        made.personal[number] = dict(appended.personal)
        made.head = Head(0, number, appended.record.hash)
        if number % checkpoint_every == 0:
            previous = made.checkpoints[-1].hash if made.checkpoints else GENESIS
            sequence = len(made.checkpoints) + 1
            digest = checkpoint_hash(previous, sequence, (made.head,))
            made.checkpoints.append(Checkpoint(sequence, (made.head,), previous, digest))
    return made


@given(st.integers(0, 12), st.integers(1, 5))
def test_an_untouched_trail_is_whole(length: int, checkpoint_every: int) -> None:
    assert trail(length, checkpoint_every).breaks() == []


def edit(made: Trail) -> None:
    made.records[2] = replace(made.records[2], body=made.records[2].body.replace("1.2.3", "1.2.4"))


def edit_and_rehash(made: Trail) -> None:
    body = made.records[2].body.replace("1.2.3", "1.2.4")
    made.records[2] = replace(made.records[2], body=body, hash=record_hash(made.records[2].previous, body))


def delete(made: Trail) -> None:
    del made.records[2]


def swap(made: Trail) -> None:
    made.records[2], made.records[3] = (
        replace(made.records[3], sequence=3),
        replace(made.records[2], sequence=4),
    )


def cut_tail(made: Trail) -> None:
    del made.records[-1]


def cut_tail_and_head(made: Trail) -> None:
    del made.records[-1]
    made.head = Head(0, len(made.records), made.records[-1].hash)


def change_personal(made: Trail) -> None:
    salt, _ = made.personal[3]["user"]
    made.personal[3]["user"] = (salt, "somebody else")


def delete_personal(made: Trail) -> None:
    del made.personal[3]["user"]


def rewrite_from_the_third(made: Trail) -> None:
    head = Head(0, 2, made.records[1].hash)
    for index in range(2, len(made.records)):
        appended = append(event("mallory"), head, lambda size: b"t" * size)
        made.records[index] = appended.record
        made.personal[index + 1] = dict(appended.personal)
        head = Head(0, index + 1, appended.record.hash)
    made.head = head


@pytest.mark.parametrize(
    ("tamper", "sequence", "words"),
    [
        (edit, 3, "content was changed"),
        (edit_and_rehash, 4, "does not follow"),
        (delete, 4, "is gone"),
        (swap, 3, "does not follow"),
        (cut_tail, 6, "the end is cut off"),
        (cut_tail_and_head, 6, "the end is cut off"),
        (delete_personal, 3, "'user' beside it is gone"),
        (change_personal, 3, "'user' beside it was changed"),
        (rewrite_from_the_third, 4, "a checkpoint saw"),
    ],
)
def test_tampering_shows_at_its_first_place(
    tamper: Callable[[Trail], None], sequence: int, words: str
) -> None:
    made = trail(6)
    tamper(made)
    first = made.breaks()[0]
    assert (first.chain, first.sequence) == ("chain 0", sequence)
    assert words in first.problem


def test_a_removed_or_edited_checkpoint_shows() -> None:
    made = trail(6)
    del made.checkpoints[0]
    assert made.breaks()[-1].chain == "checkpoints"
    made = trail(6)
    made.checkpoints[1] = replace(made.checkpoints[1], heads=(Head(0, 3, made.records[2].hash),))
    assert made.breaks() == [Break("checkpoints", 2, "its content was changed")]


def test_erasing_a_personal_fact_leaves_the_chain_whole() -> None:
    made = trail(6)
    salt, _ = made.personal[3]["user"]
    made.personal[3]["user"] = (salt, None)
    assert made.breaks() == []
    assert "jane" not in "".join(record.body for record in made.records)


def test_a_record_is_readable_by_the_institutions_it_concerns() -> None:
    assert readers(event().data) == ("RQM", "RT3")
