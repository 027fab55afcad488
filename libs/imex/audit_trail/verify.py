"""Checking a trail: chains record by record, then checkpoints against what the chains were."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from imex.audit_trail.chain import (
    GENESIS,
    Break,
    Checkpoint,
    Head,
    Record,
    checkpoint_hash,
    commitment,
    record_hash,
)
from imex.audit_trail.index import index_problem


class Verifier:
    """Reads a trail once, in order, with memory for one record and the checkpoints.

    Feed every record by (partition, sequence), then call `finish`. The first break of each chain is kept;
    what follows a break is not judged by it.
    """

    def __init__(self, chains: Sequence[Head], checkpoints: Sequence[Checkpoint]) -> None:
        """`chains` as their owner believes them to be; `checkpoints` in their order."""
        self._chains = {head.partition: head for head in chains}
        self._checkpoints = checkpoints
        self._promised: dict[tuple[int, int], bytes] = {
            (head.partition, head.length): head.hash
            for checkpoint in checkpoints
            for head in checkpoint.heads
            if head.length
        }
        self._tips: dict[int, Head] = {}
        self._breaks: dict[str, Break] = {}
        self.records = 0

    def feed(
        self,
        record: Record,
        personal: Mapping[str, tuple[bytes, str | None]] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        """One record, its personal facts as field → (salt, value or None where erased), and its columns."""
        self.records += 1
        name = f"chain {record.partition}"
        tip = self._tips.get(record.partition, Head(record.partition, 0, GENESIS))
        problem = self._problem(record, tip, personal or {}) or index_problem(record.body, columns or {})
        if problem:
            self._breaks.setdefault(name, Break(name, record.sequence, problem))
        self._tips[record.partition] = Head(record.partition, record.sequence, record.hash)

    def finish(self) -> list[Break]:
        """Every chain's first break, and the checkpoints'; empty when the trail is whole."""
        for partition, head in sorted(self._chains.items()):
            self._compare_length(partition, head, "the chain's own record")
        for checkpoint in self._checkpoints:
            for head in checkpoint.heads:
                self._compare_length(head.partition, head, f"checkpoint {checkpoint.sequence}")
        self._verify_checkpoints()
        return list(self._breaks.values())

    def _problem(
        self, record: Record, tip: Head, personal: Mapping[str, tuple[bytes, str | None]]
    ) -> str | None:
        if record.sequence != tip.length + 1:
            return f"it follows record {tip.length}: what was between them is gone"
        if record.previous != tip.hash:
            return "it does not follow the record before it"
        if record.hash != record_hash(record.previous, record.body):
            return "its content was changed"
        promised = self._promised.get((record.partition, record.sequence))
        if promised is not None and promised != record.hash:
            return "it is not the record that a checkpoint saw: the chain was rewritten"
        return _position_problem(record) or _personal_problem(record, personal)

    def _compare_length(self, partition: int, head: Head, witness: str) -> None:
        tip = self._tips.get(partition, Head(partition, 0, GENESIS))
        if tip.length < head.length:
            name = f"chain {partition}"
            problem = f"{witness} saw {head.length} records: the end is cut off"
            self._breaks.setdefault(name, Break(name, tip.length + 1, problem))

    def _verify_checkpoints(self) -> None:
        previous, expected = GENESIS, 1
        for checkpoint in self._checkpoints:
            if checkpoint.sequence != expected:
                problem = f"it follows checkpoint {expected - 1}: what was between them is gone"
            elif checkpoint.previous != previous:
                problem = "it does not follow the checkpoint before it"
            elif checkpoint.hash != checkpoint_hash(previous, checkpoint.sequence, checkpoint.heads):
                problem = "its content was changed"
            else:
                previous, expected = checkpoint.hash, expected + 1
                continue
            self._breaks["checkpoints"] = Break("checkpoints", checkpoint.sequence, problem)
            return


def _position_problem(record: Record) -> str | None:
    body = json.loads(record.body)
    if (body.get("partition"), body.get("sequence")) != (record.partition, record.sequence):
        return "it was written for another place in the trail"
    return None


def _personal_problem(record: Record, personal: Mapping[str, tuple[bytes, str | None]]) -> str | None:
    commitments = json.loads(record.body).get("commitments", {})
    for field in commitments.keys() - personal.keys():
        # erasing blanks the value; the row with its salt stays
        return f"the personal fact {field!r} beside it is gone"
    for field, (salt, value) in personal.items():
        if value is not None and commitments.get(field) != commitment(salt, value):
            return f"the personal fact {field!r} beside it was changed"
    return None
