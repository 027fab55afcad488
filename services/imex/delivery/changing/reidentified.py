"""Re-identified: what a project's recipient returns to where it came from."""

import asyncio
from typing import Any

from imex.delivery.changing.decide import CannotChange, MayNotLeave, Returned
from imex.delivery.changing.facts import RE_IDENTIFIED, patient_context, study_context
from imex.delivery.changing.form import New
from imex.delivery.changing.ledger import Ledger
from imex.delivery.changing.split import Parts
from imex.delivery.jobs import Job
from imex.dicom.syntax import Encoding
from imex.events.sealed import Sealed
from imex.sealing import Sealer, SealingError


class Reidentifier:
    """Re-identifies the instances of one delivery."""

    keeps_tail = False

    def __init__(self, returned: Returned, ledger: Ledger, sealer: Sealer, job: Job) -> None:
        """`job.recipient` is who sent it out, and gets it back.

        Raises:
            MayNotLeave: the facts of the patient cannot be opened.
        """
        self._returned = returned
        self._ledger = ledger
        self._known: dict[str, str] = {}
        self._asked: set[str] = set()
        origin = job.recipient
        project = returned.project
        try:
            self._patient = sealer.open(
                Sealed.model_validate(returned.sealed_patient),
                patient_context(project, origin, returned.pseudonym),
            )
            self._study = sealer.open(
                Sealed.model_validate(returned.sealed_study),
                study_context(project, origin, returned.study_uid),
            )
        except SealingError as error:
            raise MayNotLeave(f"who project {project} is about cannot be opened: {error}") from None

    async def of(self, parts: Parts, encoding: Encoding) -> New:
        """The head with its original UIDs and patient. Raises CannotChange for a copy of what was sent."""
        dataset, uids = await asyncio.to_thread(_read, parts.head, encoding)
        new = uids - self._asked
        if new:
            self._known |= await self._ledger.originals(self._returned.project, new)
            self._asked |= new
        head, study, uid = await asyncio.to_thread(self._make, dataset, encoding)
        return New(head, uid, (RE_IDENTIFIED + self._returned.project,), study_uid=study)

    def _make(self, dataset: Any, encoding: Encoding) -> tuple[bytes, str, str]:
        from imex.deidentification.reading import text_of
        from imex.deidentification.reidentify import Origin, reidentify
        from imex.delivery.changing.encode import write

        if text_of(dataset, 0x00080018) in self._known:
            raise CannotChange(
                "held: it is the de-identified copy of an instance that the origin has; "
                "only what is new is returned"
            )
        try:
            reidentify(dataset, self._known, self._returned.pseudonym, Origin(self._patient, self._study))
        except Exception as error:  # noqa: BLE001  as in de-identifying
            raise CannotChange(f"it cannot be re-identified ({type(error).__name__})") from None
        return write(dataset, encoding), text_of(dataset, 0x0020000D), text_of(dataset, 0x00080018)


def _read(head: bytes, encoding: Encoding) -> tuple[Any, set[str]]:
    from imex.deidentification.reading import uids_of
    from imex.delivery.changing.encode import read

    dataset = read(head, encoding)
    try:
        return dataset, uids_of(dataset)
    except Exception as error:  # noqa: BLE001  as in de-identifying
        raise CannotChange(f"it cannot be re-identified ({type(error).__name__})") from None
