"""What is sent: studies of CT slices, written as files before the clock starts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from imex.testing.dicom import synthetic_study


@dataclass(frozen=True)
class Corpus:
    """One study as files, divided among senders."""

    folder: Path
    files: tuple[Path, ...]
    uids: frozenset[str]

    def shares(self, senders: int) -> list[list[Path]]:
        """The files of each sender."""
        return [list(self.files[number::senders]) for number in range(senders)]

    def remove(self) -> None:
        """Make room."""
        shutil.rmtree(self.folder)


def corpus(parent: Path, name: str, images: int) -> Corpus:
    """A new study of `images` CT slices of 512 × 512 pixels of 16 bits."""
    study = synthetic_study(images)
    files = study.write(parent / name)
    return Corpus(parent / name, tuple(files), frozenset(study.digests))
