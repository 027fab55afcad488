"""Each malformed input ends with the right verdict and reason, and the rest of its study flows.

Bytes are read as ingest reads them, and judged on a real database with a directory in force.
"""

import hashlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import pytest
from sqlalchemy import select

from imex.db import Database
from imex.db.tables.validation import common, quarantine
from imex.dicom import HeaderScanner, Limits
from imex.directory import DirectoryIndex, Standing, parse
from imex.events import Event, Identity, decode
from imex.events.ids import root_traceparent
from imex.events.instances import InstanceReceived
from imex.events.validations import (
    InstanceDiscarded,
    InstanceDuplicated,
    InstanceQuarantined,
    InstanceValidated,
)
from imex.ingest.received import Origin, Stored, identity_of, metadata, received_data
from imex.observability.traces import Traces
from imex.settings import TracesSettings
from imex.testing.dicom import SyntheticInstance, new_uid, synthetic_study
from imex.testing.instances import SEALER, messages
from imex.testing.storage import MemoryStore
from imex.validation.handler import InstancesHandler
from imex.validation.pixels import Pixels
from imex.validation.rules import DirectoryRules

BASE = "institutions:\n  - {code: RQM, name: Hospital A, kind: nhs, senders: [{ae_title: A}]%s}\n"
STUDY, NHS = new_uid(), "9990000018"
DEFLATED = "1.2.840.10008.1.2.1.99"
Verdict = Literal["warned", "held", "refused"]


def good(**overrides: object) -> SyntheticInstance:
    """A sound instance of the study; `overrides` are of its elements."""
    made = synthetic_study(1, size=16, study_uid=STUDY, patient_id=NHS, overrides=overrides)
    return made.instances[0]


def damaged(change: Callable[[bytes], bytes]) -> SyntheticInstance:
    sound = good()
    return replace(sound, dataset=change(sound.dataset))


def nested(depth: int) -> bytes:
    """A data set whose one sequence holds itself, again and again."""
    opening = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return opening * depth + closing * depth


def bomb() -> SyntheticInstance:
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 96 * 1024**2)
    body = packer.compress(element + bytes(96 * 1024**2)) + packer.flush()
    return replace(good(), dataset=body, transfer_syntax=DEFLATED)


@dataclass(frozen=True)
class Case:
    """What comes in, what becomes of it, by which check, and words of the reason."""

    name: str
    made: Callable[[], SyntheticInstance]
    verdict: Verdict
    check: str
    words: str
    checks: str = ""
    """What the directory says of findings, where that is not the default."""


CASES = [
    Case("ends within an element", lambda: damaged(lambda b: b[:-40]), "held", "readable", "truncated"),
    Case(
        "no DICOM at all", lambda: damaged(lambda _: b"%PDF-1.7 " * 40), "held", "readable", "cannot be read"
    ),
    Case("empty", lambda: damaged(lambda _: b""), "held", "readable", "empty"),
    Case(
        "nested too deep", lambda: damaged(lambda _: nested(65)), "held", "readable", "nested deeper than 64"
    ),
    Case("inflates without end", bomb, "held", "readable", "inflates beyond"),
    Case("no study", lambda: good(StudyInstanceUID=None), "held", "uid", "Study Instance UID is missing"),
    Case("no series", lambda: good(SeriesInstanceUID=None), "held", "uid", "Series Instance UID is missing"),
    Case("series malformed", lambda: good(SeriesInstanceUID="1.02.3"), "held", "uid", "malformed"),
    Case(
        "instance of another name",
        lambda: replace(good(), sop_instance_uid=new_uid()),
        "held",
        "uid",
        "not the one",
    ),
    Case("pixels too short", lambda: good(Rows=17), "held", "pixel-length", "the pixel data has 512 bytes"),
    Case("check digit", lambda: good(PatientID="9990000019"), "held", "nhs-number", "check digit"),
    Case(
        "another person",
        lambda: good(PatientName="ROE^RICHARD"),
        "held",
        "study-demographics",
        "Patient's Name differ",
    ),
    Case(
        "another sex",
        lambda: good(PatientSex="M", PatientBirthDate="19800101"),
        "held",
        "study-demographics",
        "Birth Date",
    ),
    Case("no Patient ID", lambda: good(PatientID=""), "warned", "patient-id", "empty"),
    Case("no issuer", lambda: good(IssuerOfPatientID=None, PatientID=""), "warned", "patient-id", "empty"),
    Case("no name", lambda: good(PatientName=""), "warned", "patient-name", "empty"),
    Case("no modality", lambda: good(Modality=""), "warned", "modality", "empty"),
    Case("Type 1 empty", lambda: good(ImageType=""), "warned", "type-1", "ImageType"),
    Case("Type 1 absent", lambda: good(RescaleSlope=None), "warned", "type-1", "RescaleSlope"),
    Case("Type 2 absent", lambda: good(KVP=None), "warned", "type-2", "KVP"),
    Case(
        "a date that is none",
        lambda: damaged(lambda b: b.replace(b"20260401", b"20261341", 1)),
        "warned",
        "value-form",
        "StudyDate",
    ),
    Case(
        "character set",
        lambda: good(SpecificCharacterSet="ISO_IR 999"),
        "warned",
        "encoding",
        "character set",
    ),
    Case("burned in", lambda: good(BurnedInAnnotation="YES"), "warned", "burned-in", "YES"),
    Case(
        "unknown male",
        lambda: good(PatientName="UNKNOWN^MALE", PatientID="T17", IssuerOfPatientID="RQM"),
        "warned",
        "temporary-identity",
        "temporary",
    ),
    Case(
        "a warning made to wait",
        lambda: good(PatientID=""),
        "held",
        "patient-id",
        "empty",
        "patient-id: quarantine",
    ),
    Case(
        "a finding made a warning",
        lambda: good(Rows=17),
        "warned",
        "pixel-length",
        "512",
        "pixel-length: warn",
    ),
    Case(
        "refused by its institution",
        lambda: good(Rows=17),
        "refused",
        "pixel-length",
        "512",
        "pixel-length: refuse",
    ),
    Case(
        "refused though unreadable",
        lambda: damaged(lambda b: b[:-40]),
        "refused",
        "readable",
        "truncated",
        "readable: refuse",
    ),
]


class Fixed:
    """A directory that is in force and stays so."""

    def __init__(self, more: str = "") -> None:
        self.index = DirectoryIndex(parse(BASE % more))

    def current(self) -> DirectoryIndex:
        return self.index

    async def wait_for(self, version: str) -> None:
        assert version == self.index.version


class World:
    """Ingest's reading and validation's judging, with a store between them."""

    def __init__(self, database: Database, more: str = "") -> None:
        self._database = database
        self._directory = Fixed(more)
        self._payloads = MemoryStore()
        self._handler = InstancesHandler(
            lambda sealed, key: SEALER.open_as(Identity, sealed, key.encode()),
            Traces("validation", TracesSettings(exporter="none")),
            lambda _outcome, _checks: None,
            DirectoryRules(self._directory, "ok"),
            Pixels(self._payloads).same,
        )

    async def judged(self, *instances: SyntheticInstance, study: str = STUDY) -> list[Event[Any]]:
        """What validation says of them, in one batch."""
        received: list[Event[Any]] = [await self._received(one, study) for one in instances]
        async with self._database.unit() as unit:
            await self._handler(messages(received, "instances.bulk"), unit)
        async with self._database.engine.begin() as connection:
            rows = await connection.execute(select(common.outbox.c.value).order_by(common.outbox.c.seq))
            found = [decode(value) for value in rows.scalars()]
            await connection.execute(common.outbox.delete())
        return [event for event in found if event.type != "imex.audit.recorded"]

    async def entries(self) -> list[Any]:
        async with self._database.engine.connect() as connection:
            return list(await connection.execute(select(quarantine)))

    async def _received(self, one: SyntheticInstance, study: str) -> InstanceReceived:
        scanner = HeaderScanner(one.transfer_syntax, Limits())
        for start in range(0, len(one.dataset), 1000):
            scanner.feed(one.dataset[start : start + 1000])
        header = scanner.finish()
        event, at = uuid4(), datetime.now(UTC)
        origin = Origin(uuid4(), "RQM", Standing(), "A", "IMEX")
        digest = f"sha256:{hashlib.sha256(one.dataset).hexdigest()}"
        stored = Stored(
            f"RQM/2026-03-02/{event}", one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax,
            len(one.dataset), digest, at,
        )  # fmt: skip
        await self._payloads.put(stored.object_key, one.dataset, metadata(origin, stored))
        data = received_data(
            header, origin, stored, study_uid=study, lane="bulk", version=self._directory.index.version,
            sealed=SEALER.seal(identity_of(header), stored.object_key.encode()),
        )  # fmt: skip
        return InstanceReceived.of(
            id=event, subject="x", data=data, time=at, traceparent=root_traceparent("RQM", study)
        )


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    made = Database(migrated_database_url, "validation")
    yield made
    await made.close()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_each_malformed_input_ends_as_it_should_and_the_rest_of_its_study_flows(
    database: Database, case: Case
) -> None:
    world = World(database, f", checks: {{{case.checks}}}" if case.checks else "")
    first, *of_case, last = await world.judged(good(), case.made(), good())
    assert (type(first), type(last)) == (InstanceValidated, InstanceValidated)
    assert {finding.check for finding in first.data.warnings} <= {"type-2"}
    said = of_case[0]
    if case.verdict == "warned":
        assert isinstance(said, InstanceValidated)
        assert any(f.check == case.check and case.words in f.message for f in said.data.warnings)
        assert not await world.entries()
        return
    assert isinstance(said, InstanceQuarantined)
    assert said.data.findings[0].check == case.check
    assert case.words in said.data.reason
    (entry,) = await world.entries()
    assert case.check in entry.checks
    assert entry.state == ("refused" if case.verdict == "refused" else "waiting")
    if case.verdict == "refused":
        assert isinstance(of_case[1], InstanceDiscarded)
        assert of_case[1].data.reason.startswith("refused: ")
        assert not entry.releasable
    for words in (said.data.reason, repr(said.data.findings)):
        assert NHS not in words
        assert "ROE" not in words


def revised(sound: SyntheticInstance) -> SyntheticInstance:
    return replace(sound, dataset=sound.dataset.replace(b"CT THORAX W CONTRAST", b"CT THORAX + CONTRAST", 1))


def repainted(sound: SyntheticInstance) -> SyntheticInstance:
    return replace(sound, dataset=sound.dataset[:-2] + b"\x01\x02")


async def test_another_header_with_the_same_pixels_is_a_revision_and_waits_by_default(
    database: Database,
) -> None:
    world, sound = World(database), good()
    _, held = await world.judged(sound, revised(sound))
    assert isinstance(held, InstanceQuarantined)
    assert held.data.findings[0].check == "header-revision"
    assert held.data.disputes is None


async def test_a_revision_takes_the_place_of_the_first_where_the_institution_wants_that(
    database: Database,
) -> None:
    world, sound = World(database, ", header_revisions: replace"), good()
    (first,) = await world.judged(sound)
    (second,) = await world.judged(revised(sound))
    assert isinstance(second, InstanceValidated)
    assert second.data.replaces is not None
    assert second.data.digest != first.data.digest
    (again,) = await world.judged(revised(sound))
    assert isinstance(again, InstanceDuplicated)


async def test_other_pixels_are_a_conflict_whatever_the_institution_wants(database: Database) -> None:
    world, sound = World(database, ", header_revisions: replace"), good()
    _, held = await world.judged(sound, repainted(sound))
    assert isinstance(held, InstanceQuarantined)
    assert held.data.findings[0].check == "conflict"
    assert held.data.disputes is not None


async def test_the_same_bytes_with_other_rows_and_columns_are_a_conflict(database: Database) -> None:
    world, sound = World(database, ", header_revisions: replace"), good()
    rows, columns = b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"
    before = sound.dataset.index(rows)
    assert sound.dataset.index(columns) == before + 10
    turned = bytearray(sound.dataset)
    turned[before + 8 : before + 10], turned[before + 18 : before + 20] = b"\x20\0", b"\x08\0"
    _, held = await world.judged(sound, replace(sound, dataset=bytes(turned)))
    assert isinstance(held, InstanceQuarantined)
    assert "conflict" in {finding.check for finding in held.data.findings}


async def test_a_known_uid_in_another_study_can_only_be_discarded(database: Database) -> None:
    world, sound = World(database, ", header_revisions: replace"), good()
    other = new_uid()
    elsewhere = replace(sound, dataset=sound.dataset.replace(padded(STUDY), padded(other)))
    (first,) = await world.judged(sound)
    (held,) = await world.judged(elsewhere, study=other)
    assert isinstance(held, InstanceQuarantined)
    assert held.data.disputes is None
    assert held.data.findings[0].check == "other-study"
    (entry,) = await world.entries()
    assert not entry.releasable
    assert first.data.study_uid == STUDY


def padded(uid: str) -> bytes:
    """As an explicit element's length and value (PS3.5 7.1.2)."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"UI" + struct.pack("<H", len(value)) + value


async def test_another_patient_with_the_same_pixels_is_a_conflict(database: Database) -> None:
    world, sound = World(database, ", header_revisions: replace"), good()
    other = replace(sound, dataset=sound.dataset.replace(b"TESTPATIENT^AVERY", b"TESTPATIENT^BLAKE", 1))
    _, held = await world.judged(sound, other)
    assert isinstance(held, InstanceQuarantined)
    assert {"conflict", "study-demographics"} <= {finding.check for finding in held.data.findings}
