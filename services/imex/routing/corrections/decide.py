"""Whom a correction concerns, and how it reaches them. Pure."""

from collections.abc import Collection
from typing import Literal

from imex.sharing.model import Share

Kind = Literal["recall", "demographics", "merge"]
Concern = Literal["stopped", "due", "told"]

NO_NOTE_THERE = "its recipient reads it in an inbox"
TOO_MANY = "more instances than one rejection note can name"


def concern(share: Share, kind: Kind, *, inbox: bool, note: bool, listener: bool = False) -> Concern | None:
    """How far a correction has come for a share when it is opened; None where it does not concern it.

    `stopped`: nothing of it had been handed to delivery, so that nobody has to undo anything. `due`: a
    rejection note goes to the endpoint, whatever had arrived by then: an attempt may be under way. `told`:
    no note can go there, and people read of it. `inbox`: the share's endpoint is one; `note`: there is one;
    `listener`: an endpoint of it takes HL7, by which a system is told of what is wrong with a person's data.
    """
    if share.parts == 0:
        return "stopped" if kind == "recall" and share.state != "refused" else None
    if kind != "recall":
        return "due" if listener and not share.deidentified else "told"
    if inbox or not note:
        return "told"
    return "due"


def is_whole(recalled: Collection[str], accepted: Collection[str], note_uid: str | None) -> bool:
    """Whether all that there is of the study is taken back, but for the note that says so."""
    return set(accepted) - {note_uid} <= set(recalled)


def goes_with_share(share: Share, *, sent_by_source: bool) -> bool:
    """Whether the note reaches the share by itself: its sender's is an instance like any other.

    Others get it in a delivery of its own: Imex's is of no passage, and a share that has ended, or whose
    payloads are gone, takes nothing more.
    """
    return sent_by_source and share.live
