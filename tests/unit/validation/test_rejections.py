"""Rejection notes among what was accepted: what they take back is said with them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from imex.dicom.rejection import KEY_OBJECT_SELECTION, About, Reference, write_note
from imex.testing.instances import received
from imex.testing.storage import MemoryStore
from imex.validation.batch import accepted_event
from imex.validation.rejections import Rejections

NAMED = [Reference("1.2.3.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.3.1")]


async def told(file: bytes, **facts: Any) -> Any:
    store = MemoryStore()
    event = accepted_event(received(**{"sop_class_uid": KEY_OBJECT_SELECTION, **facts}), ())
    if file:
        await store.put(event.data.object_key, file)
    (said,) = await Rejections(store).told((event,))
    return said.data.rejection


def note(study_uid: str = "1.2.3") -> bytes:
    about = About(study_uid)
    made = write_note(about, "113038", NAMED, note=UUID(int=1), series=UUID(int=2), at=datetime.now(UTC))
    return made.file()


async def test_what_a_note_takes_back_is_said() -> None:
    rejection = await told(note())
    assert (rejection.code, rejection.instances[0].sop_instance_uid) == ("113038", "1.2.3.1.1")


async def test_other_documents_and_images_take_nothing_back() -> None:
    assert await told(note(), sop_class_uid="1.2.840.10008.5.1.4.1.1.2") is None
    assert await told(b"no DICOM") is None
    assert await told(b"") is None
    assert await told(note(), size=1 << 30) is None


async def test_a_note_of_another_study_than_its_own_takes_nothing_back() -> None:
    assert await told(note("9.9")) is None
