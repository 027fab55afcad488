"""What a scan of a data set yields, and the limits it keeps to."""

from dataclasses import dataclass, field

from imex.dicom.iods import Conformance


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on what one data set may make the scanner do."""

    max_value_bytes: int = 64 * 1024
    """Longest value of a wanted element, in bytes."""
    max_depth: int = 64
    """Deepest nesting of sequences."""
    max_inflated_bytes: int = 1024**3
    """Most bytes that a deflated data set may inflate to."""
    max_inflation_ratio: int = 200
    """Most bytes out for one byte in, judged once 64 MiB have come out."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Facts that are not about a person; ``None`` or an empty string where the data set has none."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    modality: str = ""
    body_part: str = ""
    institution_name: str = ""
    manufacturer: str = ""
    photometric_interpretation: str = ""
    character_set: str = ""
    burned_in: str = ""
    """Burned In Annotation (0028,0301): YES, NO, or nothing."""
    study_date: str = ""
    study_time: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    study_instances: int | None = None
    """Number of Study Related Instances (0020,1208), as the sender states it."""
    rows: int | None = None
    columns: int | None = None
    samples_per_pixel: int | None = None
    bits_allocated: int | None = None
    number_of_frames: int | None = None
    private_creators: tuple[str, ...] = ()
    referenced_studies: tuple[str, ...] = ()
    """Studies that it names as evidence or otherwise refers to; its own may be among them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Facts about a person and texts that may hold some; to be sealed before they travel."""

    patient_name: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    issuer_of_patient_id_oid: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    issuer_of_accession: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    series_description: str = ""
    referring_physician: str = ""
    other_patient_ids: tuple[tuple[str, str], ...] = ()
    """Issuer and identifier of Other Patient IDs Sequence (0010,1002), both as they stand there."""


@dataclass(frozen=True, slots=True)
class Header:
    """The result of a scan.

    ``problem`` is ``None`` when the whole data set could be walked from its first element to its last byte;
    otherwise it says in words, without patient data, what stopped the walk. ``warnings`` are oddities that
    do not keep anyone from reading it. ``pixel_bytes`` is the length of the pixel data (of all fragments
    when it is encapsulated); ``pixel_bytes_expected`` what rows, columns, samples, bits and frames ask for,
    padded to an even length, and ``None`` where that cannot be said.
    """

    elements: Elements = field(default_factory=Elements)
    identity: Identity = field(default_factory=Identity)
    problem: str | None = None
    warnings: tuple[str, ...] = ()
    pixel_bytes: int | None = None
    pixel_bytes_expected: int | None = None
    pixel_at: int | None = None
    """Where the value of the pixel data begins, in bytes of the (inflated) data set."""
    conformance: Conformance = field(default_factory=Conformance)
    dataset_bytes: int = 0
    """Length of the encoded data set as it came in."""

    @property
    def cut_short(self) -> bool:
        """Whether the data set ends before the walk came to its end."""
        return self.problem is not None and self.problem.startswith("truncated")
