"""What is sent: studies of synthetic images, all encoded before the clock starts.

A corpus is a few templates; an instance of a study is a template with identifiers of its own, all of the same
length, so that a sender has only to put them in and no new image has to be encoded in a round.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imex.dicom.part10 import file_meta
from imex.testing.dicom import SyntheticInstance, nhs_number, synthetic_study

_CR: Final = "1.2.840.10008.5.1.4.1.1.1"
_MR: Final = "1.2.840.10008.5.1.4.1.1.4"
_US: Final = "1.2.840.10008.5.1.4.1.1.6.1"

_SLICES = 20
LONGEST_STUDY = 100
SHORTEST_SHARE = 60
"""Images that an association sends at least."""


@dataclass(frozen=True)
class Identifiers:
    """What tells one instance from another; every field is as long as the same field of any other."""

    study: str
    series: str
    instance: str
    accession: str
    patient: str


@dataclass(frozen=True)
class Template:
    """An encoded instance in two parts: what comes before the pixels, and the pixels."""

    sop_class: str
    transfer_syntax: str
    before: bytes
    pixels: bytes
    has: Identifiers

    def parts(self, identifiers: Identifiers) -> tuple[bytes, bytes]:
        """The data set of an instance; the pixels are shared."""
        before = self.before
        for old, new in zip(vars(self.has).values(), vars(identifiers).values(), strict=True):
            before = before.replace(old.encode(), new.encode())
        return before, self.pixels


@dataclass(frozen=True)
class Study:
    """One study: for each instance the number of its template and its SOP Instance UID."""

    study: str
    series: str
    accession: str
    patient: str
    instances: tuple[tuple[int, str], ...]

    def identifiers(self, instance: str) -> Identifiers:
        """Those of one of its instances."""
        return Identifiers(self.study, self.series, instance, self.accession, self.patient)

    @property
    def uids(self) -> frozenset[str]:
        """The SOP Instance UIDs."""
        return frozenset(uid for _, uid in self.instances)


@dataclass(frozen=True)
class Corpus:
    """Templates and the file in which a sender finds them."""

    name: str
    described: str
    templates: tuple[Template, ...]
    file: Path

    def study(self, images: int) -> Study:
        """A new study of so many images."""
        instances = tuple((number % len(self.templates), fixed_uid()) for number in range(images))
        return Study(fixed_uid(), fixed_uid(), f"A{_digits(10)}", nhs_number(), instances)

    def batch(self, images: int, associations: int) -> list[list[Study]]:
        """For each association the studies that it sends, `images` in all or a little more."""
        return [[self.study(size) for size in study_sizes(images, associations)] for _ in range(associations)]

    def write(self, study: Study, folder: Path) -> list[Path]:
        """The study as files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, (index, uid) in enumerate(study.instances):
            template = self.templates[index]
            meta = file_meta(template.sop_class, uid, template.transfer_syntax)
            path = folder / f"{number:05}.dcm"
            path.write_bytes(meta + b"".join(template.parts(study.identifiers(uid))))
            paths.append(path)
        return paths


def study_sizes(images: int, associations: int) -> list[int]:
    """The studies of one association of several: at least 60 images, at most 100 in a study."""
    share = max(SHORTEST_SHARE if images >= SHORTEST_SHARE else images, -(-images // associations))
    studies = -(-share // LONGEST_STUDY)
    return [share // studies + (number < share % studies) for number in range(studies)]


def fixed_uid() -> str:
    """A UID nobody has used (PS3.5 annex B.2), always 44 characters long."""
    return f"2.25.{random.randrange(10**38, 2**128)}"


def _digits(count: int) -> str:
    return f"{random.randrange(10**count):0{count}}"


def ct(scratch: Path) -> Corpus:
    """CT slices of 512 × 512 pixels of 16 bits."""
    return _kept(scratch, "ct", "CT slices of 512 KB", _ct(_SLICES))


def mixed(scratch: Path) -> Corpus:
    """Of 20 images 8 CT of 512 KB, 8 MR of 128 KB, 3 ultrasound in colour of 768 KB and 1 CR of 7 MB."""
    mr = _templates(8, _MR, size=256, Modality="MR")
    colour = {
        "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
        "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": random.randbytes(512 * 512 * 3),
    }  # fmt: skip
    us = _templates(3, _US, size=512, Modality="US", **colour)
    cr = _templates(1, _CR, size=1920, Modality="CR")
    made = _ct(8) + mr + us + cr
    random.Random(6).shuffle(made)
    described = "of 20 images 8 CT of 512 KB, 8 MR of 128 KB, 3 US in colour of 768 KB, 1 CR of 7 MB"
    return _kept(scratch, "mixed", described, made)


def _kept(scratch: Path, name: str, described: str, templates: list[Template]) -> Corpus:
    file = scratch / f"{name}.templates"
    file.write_bytes(pickle.dumps(templates))
    return Corpus(name, described, tuple(templates), file)


def load(file: Path) -> Sequence[Template]:
    """The templates that a corpus has written."""
    found: list[Template] = pickle.loads(file.read_bytes())
    return found


def _ct(count: int) -> list[Template]:
    return _templates(count, "1.2.840.10008.5.1.4.1.1.2", size=512)


def _templates(count: int, sop_class: str, *, size: int, **overrides: Any) -> list[Template]:
    has = Identifiers(fixed_uid(), fixed_uid(), fixed_uid(), f"A{_digits(10)}", nhs_number())
    study = synthetic_study(
        count,
        size=size,
        study_uid=has.study,
        patient_id=has.patient,
        overrides={
            "SOPClassUID": sop_class, "SOPInstanceUID": has.instance, "SeriesInstanceUID": has.series,
            "AccessionNumber": has.accession, **overrides,
        },
    )  # fmt: skip
    return [_template(instance, has) for instance in study.instances]


def _template(instance: SyntheticInstance, has: Identifiers) -> Template:
    pixels_at = instance.dataset.index(b"\xe0\x7f\x10\x00OW")
    before, pixels = instance.dataset[:pixels_at], instance.dataset[pixels_at:]
    return Template(instance.sop_class_uid, instance.transfer_syntax, before, pixels, has)
