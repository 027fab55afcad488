"""Rejection notes among what was accepted: what they take back is read for routing."""

import asyncio
from collections.abc import Sequence
from typing import Any

from imex.dicom.rejection import KEY_OBJECT_SELECTION, MOST_BYTES, read_note
from imex.events import Event
from imex.events.validations import InstanceValidated, RejectedInstance, RejectionFacts
from imex.storage import ObjectNotFound, ObjectStore


class Rejections:
    """Reads key object selections, which are few; what is another document costs nothing."""

    def __init__(self, payloads: ObjectStore) -> None:
        """`payloads` is what ingest has stored."""
        self._payloads = payloads

    async def told(self, said: Sequence[Event[Any]]) -> tuple[Event[Any], ...]:
        """The events, with what an accepted note among them takes back.

        Raises what the store raises when it is away.
        """
        return tuple([await self._told(event) for event in said])

    async def _told(self, event: Event[Any]) -> Event[Any]:
        if not isinstance(event, InstanceValidated) or event.data.sop_class_uid != KEY_OBJECT_SELECTION:
            return event
        if event.data.size > MOST_BYTES:
            return event
        try:
            file = await self._payloads.get(event.data.object_key)
        except ObjectNotFound:
            return event
        found = await asyncio.to_thread(read_note, file)
        if found is None or found.study_uid != event.data.study_uid:
            return event
        named = tuple(
            RejectedInstance(
                sop_instance_uid=one.sop_instance_uid,
                sop_class_uid=one.sop_class_uid,
                series_uid=one.series_uid,
            )
            for one in found.references
        )
        rejection = RejectionFacts(code=found.code, instances=named)
        return event.model_copy(update={"data": event.data.model_copy(update={"rejection": rejection})})
