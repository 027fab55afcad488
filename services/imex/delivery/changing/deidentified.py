"""De-identified, as the agreement asks."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imex.deidentification.keys import ProjectKey
from imex.delivery.changing.decide import CannotChange
from imex.delivery.changing.facts import Given, patient_context, study_context
from imex.delivery.changing.form import New
from imex.delivery.changing.split import Parts
from imex.delivery.jobs import Job
from imex.dicom.syntax import Encoding
from imex.directory.policies import Deidentification
from imex.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Made:
    """A head without anybody in it; `held` says why it may not leave all the same."""

    head: bytes
    sop_instance_uid: str
    study_uid: str
    given_study_uid: str
    pseudonym: str
    uids: dict[str, str]
    patient: Mapping[str, str]
    study: Mapping[str, str]
    held: str


class Deidentifier:
    """De-identifies the instances of one delivery."""

    keeps_tail = False

    def __init__(self, job: Job, asked: Deidentification, key: ProjectKey, sealer: Sealer) -> None:
        """With the key of the project."""
        self._job = job
        self._asked = asked
        self._key = key
        self._sealer = sealer
        self._noted: set[str] = set()
        self._sealed: dict[bytes, Mapping[str, Any]] = {}

    async def of(self, parts: Parts, encoding: Encoding) -> New:
        """The head without anybody in it. Raises CannotChange where it may not leave all the same."""
        made = await asyncio.to_thread(
            make_head, parts.head, encoding, self._asked, self._key, self._job.source, pixels=parts.pixels
        )
        if made.held:
            raise CannotChange(f"held: {made.held}")
        project, source = self._asked.project, self._job.source
        new = {original: uid for original, uid in made.uids.items() if original not in self._noted}
        self._noted.update(new)
        given = Given(
            project=project,
            recipient=self._job.recipient,
            source=source,
            study_uid=made.study_uid,
            given_study_uid=made.given_study_uid,
            pseudonym=made.pseudonym,
            uids=new,
            sealed_patient=self._seal(made.patient, patient_context(project, source, made.pseudonym)),
            sealed_study=self._seal(made.study, study_context(project, source, made.given_study_uid)),
        )
        words = f"de-identified for project {project} (PS3.15 Basic Profile{self._options})"
        return New(made.head, made.sop_instance_uid, (words,), given, made.given_study_uid)

    @property
    def _options(self) -> str:
        return "".join(f", {option}" for option in sorted(self._asked.options))

    def _seal(self, told: Mapping[str, str], context: bytes) -> Mapping[str, Any]:
        if (sealed := self._sealed.get(context)) is None:
            sealed = self._sealed[context] = self._sealer.seal(told, context).model_dump(mode="json")
        return sealed


def make_head(
    head: bytes, encoding: Encoding, asked: Deidentification, key: ProjectKey, source: str, *, pixels: bool
) -> Made:
    """De-identify a head, and say whether it may leave. Slow: in a thread. Raises CannotChange."""
    from imex.deidentification import release
    from imex.deidentification.deidentify import deidentify
    from imex.deidentification.profile import profile_with
    from imex.deidentification.reading import text_of
    from imex.deidentification.reidentify import facts_of
    from imex.delivery.changing.encode import read, write
    from imex.dicom.rejection import relist

    dataset = read(head, encoding)
    try:
        held = release.document(dataset)
        if not held and asked.burned_in == "hold":
            held = release.burned_in(dataset, pixels=pixels)
        origin = facts_of(dataset)
        study_uid = text_of(dataset, 0x0020000D)
        outcome = deidentify(dataset, profile_with(asked.options), key, source)
        relist(dataset)
        held = held or release.residue(dataset, outcome)
    except Exception as error:  # noqa: BLE001  what cannot be read to its last value cannot be judged
        raise CannotChange(f"it cannot be de-identified ({type(error).__name__})") from None
    return Made(
        b"" if held else write(dataset, encoding),
        text_of(dataset, 0x00080018),
        study_uid,
        text_of(dataset, 0x0020000D),
        outcome.pseudonym,
        outcome.uids,
        origin.patient,
        origin.study,
        held,
    )
