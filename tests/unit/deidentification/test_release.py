"""What holds an instance back: pixels that may show who it is, documents, and what is still in the header."""

import time

import pytest
from pydicom.dataset import Dataset

from imex.deidentification.deidentify import deidentify
from imex.deidentification.keys import ProjectKey
from imex.deidentification.known import Known
from imex.deidentification.profile import Profile
from imex.deidentification.release import burned_in, document, residue

KEY = ProjectKey(bytes(32), "p1")


def image(**values: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.Modality = "CT"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ({}, False),
        ({"BurnedInAnnotation": "YES"}, True),
        ({"RecognizableVisualFeatures": "YES"}, True),
        ({"Modality": "US"}, True),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4.1"}, True),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, True),
    ],
)
def test_pixels_that_may_show_who_it_is(values: dict[str, object], held: bool) -> None:
    assert bool(burned_in(image(**values), pixels=True)) is held
    assert not burned_in(image(**values), pixels=False)


def test_documents_are_not_de_identified() -> None:
    assert document(image(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1"))
    assert document(image(EncapsulatedDocument=b"%PDF"))
    assert not document(image())


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("Manufacturer", "Scanner of Zoë Ólafsdottir", "name"),
        ("ManufacturerModelName", "OLAFSDOTTIRZOE", "name"),
        ("SequenceName", "mrn-0815-44", "identifier"),
        ("ConvolutionKernel", "born 03/04/1971", "birth date"),
        ("BodyPartExamined", "ZOE", ""),
        ("ICCProfile", b"\0\1for Zoe Olafsdottir\0", "name"),
        ("ICCProfile", bytes(range(256)) * 9, ""),
    ],
)
def test_what_is_left_of_the_patient_is_found(keyword: str, value: str, words: str) -> None:
    dataset = image(PatientName="Olafsdottir^Zoe", PatientID="MRN081544", PatientBirthDate="19710403")
    setattr(dataset, keyword, value)
    outcome = deidentify(dataset, Profile(), KEY, "RQM")
    found = residue(dataset, outcome)
    assert (f"the patient's {words} is left in" in found) if words else found == ""
    assert "Olaf" not in found and "0815" not in found


def test_an_original_uid_is_found_in_text_too() -> None:
    dataset = image(StudyInstanceUID="1.2.826.7.4711", PatientName="A^B")
    dataset.ManufacturerModelName = "see 1.2.826.7.4711"
    assert "original UID" in residue(dataset, deidentify(dataset, Profile(), KEY, "RQM"))


@pytest.mark.parametrize(
    ("identifier", "text", "found"),
    [
        ("000012", "version 7.1000012", False),
        ("000012", "for 000012", True),
        ("A12", "A123", False),
        ("A12", "patient a12", True),
        ("AB-12345", "xxab12345yy", True),
        ("12", "12", False),
        ("0000", "0000", False),
    ],
)
def test_short_identifiers_count_as_whole_words_only(identifier: str, text: str, found: bool) -> None:
    known = Known()
    known.add_identifier(identifier)
    assert bool(known.found_in(text)) is found


def test_cleaning_takes_out_people_dates_and_numbers_and_leaves_the_rest() -> None:
    known = Known()
    known.add_name("Olafsdottir^Zoe")
    known.add_identifier("A12345")
    text = "Thorax Zoë Olafsdottir, A12345, seen by Dr Who 03.04.2021 tel 020 7946 0018 lesion left"
    cleaned = known.cleaned(text)
    assert not any(word in cleaned for word in ("Olaf", "Zo", "A12345", "Who", "2021", "7946"))
    assert cleaned.startswith("Thorax") and cleaned.endswith("lesion left")


@pytest.mark.parametrize("unit", ["1", "a", "1.", "1 ", "@", "a@", "dr "])
def test_long_texts_take_no_longer_than_they_are(unit: str) -> None:
    text = unit * (500_000 // len(unit))
    dataset = image(PatientName="Ng^Li", PatientID="MRN0815")
    dataset.add_new(0x00081195, "UI", "1.2.3")
    dataset.add_new(0x20300020, "UT", text)
    began = time.process_time()
    outcome = deidentify(dataset, Profile(), KEY, "RQM")
    residue(dataset, outcome)
    outcome.known.cleaned(text)
    assert time.process_time() - began < 10


def test_short_names_are_cleaned_too() -> None:
    known = Known()
    known.add_name("Ng^Li")
    assert known.cleaned("chest of Ng Li") == "chest of"
