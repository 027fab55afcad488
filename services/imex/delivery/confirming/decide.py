"""What is known of an instance that was handed over, once its destination was asked. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from imex.delivery.decide import Answer, Verdict

MOST_LACKED: Final = 3
"""An instance is given up that so many times was taken, and was not there when asked for."""

By = Literal["answer", "query", "commitment"]


@dataclass(frozen=True, slots=True)
class HandedOver:
    """An instance that was sent, and is not confirmed."""

    sop_instance_uid: str
    digest: str
    sop_class_uid: str
    study_uid: str
    """Under which it was sent, as is the next."""
    sent_uid: str
    status: str
    reason: str
    at: datetime
    answered: bool
    """The destination has said that it took it; without, it may be there."""
    lacked: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes of it: confirmed, failed, or to be sent again; `lacked` counts one more broken promise."""

    one: HandedOver
    answer: Answer
    by: By | None = None
    lacked: bool = False


def found(one: HandedOver, by: By) -> Finding:
    """The destination has it."""
    reason = one.reason if one.answered else _FOUND[by]
    return Finding(one, Answer(Verdict.CONFIRMED, one.status, reason), by)


_FOUND: Final = {
    "answer": "",
    "query": "the answer to the sending is not known; a query found it there",
    "commitment": "the answer to the sending is not known; the destination has committed it",
}


def lacking(one: HandedOver, *, now: datetime, patience: timedelta) -> Finding | None:
    """A query did not find it; None while that may be because it has just been sent.

    Where nobody said that it was taken it is sent again at once. Where somebody did, an archive may still be
    filing it: it is asked for again during `patience`.
    """
    if not one.answered:
        return Finding(one, Answer(Verdict.RETRY, one.status, "it did not arrive: a query does not find it"))
    if now - one.at < patience:
        return None
    return broken(one, "a query does not find it")


def broken(one: HandedOver, words: str) -> Finding:
    """The destination took it and does not have it; sent again, and given up at last."""
    times = one.lacked + 1
    if times >= MOST_LACKED:
        told = f"given up: taken by the destination {times} times, and {words}"
        return Finding(one, Answer(Verdict.FAILED, one.status, told), lacked=True)
    return Finding(one, Answer(Verdict.RETRY, one.status, f"taken, and {words}: sent again"), lacked=True)
