"""A simulated sender: delivers a study of nobody, or files, and does it wrong where it is told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imex.dicom.part10 import EncodedInstance, dataset_offset, transfer_syntax_of
from imex.dicom.specimen import specimen
from imex.dimse import Association, DimseError, Limits, connect
from imex.dimse.statuses import words


@dataclass(frozen=True, slots=True)
class SenderFailure:
    """One way to send wrongly."""

    name: str
    does: str
    receiver: str
    """What a good receiver does about it."""


SENDER_FAILURES: Final = (
    SenderFailure(
        "late-instances",
        "sends half of the study, and the rest on another association after a while (--delay)",
        "adds what is late to the study, and tells whoever has it already",
    ),
    SenderFailure(
        "wrong-identifiers",
        "gives the last instance of the study another patient",
        "keeps the instance back for a person, and lets the rest go on",
    ),
    SenderFailure(
        "abort-association",
        "aborts the association after half of the study",
        "keeps what it has confirmed, and knows that the study is not complete",
    ),
    SenderFailure(
        "abort-mid-data",
        "aborts in the middle of the last instance",
        "keeps nothing of that instance, and all that it has confirmed",
    ),
    SenderFailure("send-twice", "sends every instance twice", "confirms both and has one effect"),
    SenderFailure(
        "slow-writer",
        "writes 1 kB a second (--rate)",
        "is patient up to its limit, and serves all others meanwhile",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Where to, as whom, and how."""

    host: str
    port: int
    calling_ae: str
    called_ae: str
    failures: frozenset[str] = frozenset()
    delay_s: float = 10.0
    rate: float = 1000.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered to one instance; `answer` is in words."""

    sop_instance_uid: str
    answer: str


def study_of_nobody(images: int, failures: frozenset[str]) -> list[EncodedInstance]:
    """The study that is sent where no files are given."""
    made = specimen(images)
    if "wrong-identifiers" not in failures:
        return list(made.instances)
    stranger = specimen(
        1, patient_id="IMEX-OTHER-TEST", patient_name="ZZZTEST^OTHER", study_uid=made.study_uid
    )
    return [*made.instances[:-1], *stranger.instances]


def read_files(paths: Sequence[Path]) -> list[EncodedInstance]:
    """Part-10 files, those in folders too. Raises ValueError for what is none, OSError."""
    from pydicom.filereader import read_file_meta_info

    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    found = []
    for file in files:
        if not file.is_file():
            continue
        data = file.read_bytes()
        offset = dataset_offset(data)
        if not offset:
            raise ValueError(f"{file} is no DICOM file")
        meta = read_file_meta_info(file)
        found.append(
            EncodedInstance(
                str(meta.MediaStorageSOPClassUID),
                str(meta.MediaStorageSOPInstanceUID),
                transfer_syntax_of(data),
                data[offset:],
            )
        )
    return found


async def send(instances: Sequence[EncodedInstance], how: Sending) -> AsyncIterator[Answered]:
    """Send; what was answered, one by one. Raises DimseError where there is no association at all."""
    if "late-instances" in how.failures:
        half = (len(instances) + 1) // 2
        async for answered in _over_one(instances[:half], how):
            yield answered
        await asyncio.sleep(how.delay_s)
        async for answered in _over_one(instances[half:], how):
            yield answered
        return
    async for answered in _over_one(instances, how):
        yield answered


async def _over_one(instances: Sequence[EncodedInstance], how: Sending) -> AsyncIterator[Answered]:
    if not instances:
        return
    contexts = list(dict.fromkeys((one.sop_class_uid, (one.transfer_syntax,)) for one in instances))
    half = (len(instances) + 1) // 2
    limits = Limits()
    async with connect(how.host, how.port, how.calling_ae, how.called_ae, contexts, limits) as association:
        for number, one in enumerate(instances):
            if "abort-association" in how.failures and number == half:
                association.abort()
                yield Answered(one.sop_instance_uid, "not sent: the association was aborted, as told")
                return
            if "abort-mid-data" in how.failures and number == len(instances) - 1:
                yield await _aborted(association, one)
                return
            for _ in range(2 if "send-twice" in how.failures else 1):
                yield await _store(association, one, how)


async def _store(association: Association, one: EncodedInstance, how: Sending) -> Answered:
    pace = how.rate if "slow-writer" in how.failures else 0.0
    try:
        response = await association.store(
            one.sop_class_uid,
            one.sop_instance_uid,
            one.transfer_syntax,
            _slowly(one.dataset, pace) if pace else memoryview(one.dataset),
            len(one.dataset),
        )
    except DimseError as error:
        return Answered(one.sop_instance_uid, f"no answer: {error}")
    comment = f" ({response.comment})" if response.comment else ""
    return Answered(one.sop_instance_uid, words(response.status) + comment)


async def _slowly(data: bytes, rate: float) -> AsyncIterator[bytes]:
    step = max(1, round(rate / 4))
    for start in range(0, len(data), step):
        yield data[start : start + step]
        await asyncio.sleep(step / rate)


async def _aborted(association: Association, one: EncodedInstance) -> Answered:
    async def half() -> AsyncIterator[bytes]:
        yield one.dataset[: len(one.dataset) // 2]
        await asyncio.sleep(0.2)
        raise _Told

    with contextlib.suppress(_Told):
        await association.store(
            one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax, half(), len(one.dataset)
        )
    return Answered(one.sop_instance_uid, "not sent whole: aborted in the middle, as told")


class _Told(Exception):
    """To break off."""
