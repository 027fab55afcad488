"""States, steps, times and sizes in words that people use."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from imex.events.shares import ShareState

UK = ZoneInfo("Europe/London")

STATES: dict[ShareState, tuple[str, str, str]] = {
    "requested": (
        "Waiting to be accepted",
        "yellow",
        "The recipient has been asked and has not answered.",
    ),
    "accepted": ("Accepted", "blue", "An agreement covers it. Imex is waiting for the first images."),
    "collecting": ("Collecting", "blue", "Images are still coming in from the sender."),
    "delivering": ("On its way", "blue", "The images are being sent to the recipient."),
    "delivered": ("Delivered", "green", "The recipient has confirmed every image."),
    "partial": ("Partly delivered", "orange", "What could be sent has been confirmed. Something is missing."),
    "refused": ("Refused", "red", "Nothing has left the sender."),
    "failed": ("Failed", "red", "It could not be delivered and is not tried again by itself."),
    "cancelled": ("Cancelled", "grey", "It was called off before it was delivered."),
    "revoked": ("Taken back", "grey", "What has not been delivered is not going to be."),
    "expired": ("Expired", "grey", "Its time ran out before it was delivered."),
}
"""For each state: what people call it, its colour, and what it means."""

STEPS = {
    "received": "Images came in",
    "validated": "Images checked",
    "quarantined": "Images held back",
    "released": "Images let out of quarantine",
    "discarded": "Images discarded",
    "replaced": "Another copy took the place of the first",
    "repeated": "The same images came again",
    "requested": "Share asked for",
    "accepted": "Share accepted",
    "collecting": "Collecting images",
    "completed": "Study complete",
    "delivering": "Sending started",
    "escalated": "Late: raised in priority",
    "attempted": "Tried to send",
    "delivery_attempted": "Tried to send",
    "first_image_received": "First image confirmed",
    "progressed": "Images confirmed",
    "partial": "Partly delivered",
    "partially_delivered": "Partly delivered",
    "delivered": "Delivered",
    "viewed": "Seen by the recipient",
    "result_returned": "A result came back",
    "refused": "Refused",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "revoked": "Taken back",
    "expired": "Expired",
    "images_deleted": "Images deleted on schedule",
    "request_granted": "Granted as it was asked for",
    "hold_placed": "Put under legal hold",
    "hold_lifted": "Legal hold lifted",
    "paused": "Paused",
    "resumed": "Resumed",
    "retried": "Tried again at once",
    "rerouted": "Sent to another endpoint",
    "recalled": "Recalled by its source",
    "recall_notified": "Rejection note confirmed",
    "recall_unreached": "Rejection note not delivered",
    "correction_notified": "Correction taken over by HL7",
    "correction_unreached": "Correction not delivered by HL7",
    "corrected": "Corrected by its source",
    "correction_acknowledged": "Recall or correction acknowledged",
}

_GOOD = frozenset({"delivered", "released"})
_BAD = frozenset({"refused", "failed", "expired", "recalled", "recall_unreached", "correction_unreached"})
_WARN = frozenset({"escalated", "paused", "quarantined", "discarded", "partial", "partially_delivered"})


def step_words(step: str) -> str:
    """A step of a timeline; one that is not known here still reads well."""
    return STEPS.get(step) or step.replace("_", " ").capitalize()


def step_mood(step: str, reason: str) -> str:
    """The style of a step: an attempt with a reason has failed."""
    if step in _GOOD:
        return "imex-good"
    if step in _BAD or ("attempted" in step and reason):
        return "imex-bad"
    return "imex-warn" if step in _WARN else ""


def when(moment: datetime, now: datetime | None = None) -> str:
    """`today at 2:30pm`, `5 March at 2:30pm`, in UK time."""
    local = moment.astimezone(UK)
    today = (now or datetime.now(UTC)).astimezone(UK)
    days = (today.date() - local.date()).days
    if days == 0:
        return f"today at {clock(local)}"
    if days == 1:
        return f"yesterday at {clock(local)}"
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local.day} {local:%B}{year} at {clock(local)}"


def clock(local: datetime) -> str:
    """`2:30pm`, as the NHS writes it."""
    hour = local.hour % 12 or 12
    half = "am" if local.hour < 12 else "pm"
    return f"{hour}:{local:%M}{half}"


def exact(moment: datetime) -> str:
    """`5 March 2026, 14:30:05`, in UK time: for a timeline, where seconds count."""
    local = moment.astimezone(UK)
    return f"{local.day} {local:%B %Y, %H:%M:%S}"


def day(date: str) -> str:
    """A DICOM date (DA) as `5 March 2026`; anything else as it is."""
    try:
        found = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return date
    return f"{found.day} {found:%B %Y}"


def person_name(value: str) -> str:
    """A DICOM name (PN) as people write it: `OKONKWO, Chidi`; of several ways of writing it the first."""
    family, _, given = value.partition("=")[0].partition("^")
    words = " ".join(part for part in given.split("^")[:2] if part)
    return f"{family.upper()}, {words}" if family and words else family or words


def size(count: int) -> str:
    """`63.2 MB`."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def images(count: int) -> str:
    """`1 image`, `120 images`."""
    return f"{count:,} image" + ("" if count == 1 else "s")
