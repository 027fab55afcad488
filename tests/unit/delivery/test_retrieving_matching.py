"""Which studies of an archive a request is about."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.delivery.retrieving.matching import (
    Answer,
    NotAskable,
    Tally,
    Within,
    choose,
    keys_of,
    outcome,
    words_of,
)
from imex.events.sealed import SealedWanted

NHS = SealedWanted(issuer="NHS", patient_id="943 476 5919")
OWN = SealedWanted(issuer="RQM", patient_id="H-12")
ANY = Within()
issuers = st.sampled_from(["", "NHS", "RQM", "RT3", " nhs ", "2.16.840.1.113883.2.1.4.1"])
numbers = st.sampled_from(["9434765919", "943 476 5919", "943-476-5919", "H-12", "h-12", "H 12", "", "*"])
days = st.sampled_from(["", "20240101", "20240105", "20240110", "2024"])
answers = st.builds(
    Answer,
    study_uid=st.integers(1, 30).map(lambda number: f"1.2.{number}"),
    patient_id=numbers,
    issuer=issuers,
    accession=st.sampled_from(["A1", " A1 ", "A2", ""]),
    day=days,
    modalities=st.frozensets(st.sampled_from(["CT", "MR", "SR"]), max_size=3),
    instances=st.none() | st.integers(0, 5),
)
wishes = st.sampled_from([NHS, OWN, SealedWanted(accession="A1"), SealedWanted(study_uid="1.2.7")])
withins = st.builds(
    Within,
    modality=st.sampled_from([None, "CT"]),
    studied_from=st.sampled_from([None, "20240102"]),
    studied_until=st.sampled_from([None, "20240109"]),
    modalities=st.sampled_from([None, frozenset({"CT", "SR"})]),
)


def chosen(found: list[Answer], wanted: SealedWanted, within: Within = ANY, **more: Any) -> Any:
    facts = {"holder": "RQM", "unissued": "", "held": {}, "most": 50, **more}
    return choose(found, wanted, within, **facts)


@given(
    st.lists(answers, max_size=30),
    wishes,
    withins,
    st.integers(0, 5),
    st.dictionaries(st.just("1.2.7"), st.integers(0, 9)),
)
def test_nothing_is_fetched_that_was_not_asked_for(
    found: list[Answer], wanted: SealedWanted, within: Within, most: int, held: dict[str, int]
) -> None:
    decided = chosen(found, wanted, within, most=most, held=held)
    taken = [*decided.fetch, *decided.held]
    assert len(taken) <= most
    assert len({one.study_uid for one in taken}) == len(taken)
    for one in taken:
        if wanted.study_uid:
            assert one.study_uid == wanted.study_uid
        elif wanted.accession:
            assert one.accession.strip() == wanted.accession
        elif wanted is NHS:
            assert one.patient_id.replace(" ", "").replace("-", "") == "9434765919"
            assert one.issuer.strip().upper() == "NHS" or one.issuer.startswith("2.16")
        else:
            assert (one.patient_id, one.issuer.strip()) in {("H-12", ""), ("H-12", "RQM")}
        assert not within.modality or not one.modalities or within.modality in one.modalities
        assert within.modalities is None or one.modalities <= within.modalities
        if within.days:
            assert (within.studied_from or "0") <= one.day <= (within.studied_until or "9")
    for one in decided.held:
        assert one.instances is not None and one.instances <= held[one.study_uid]
    if decided.left_out:
        assert len(taken) == most


@given(st.lists(answers, max_size=30), wishes, st.integers(1, 5))
def test_the_newest_come_first(found: list[Answer], wanted: SealedWanted, most: int) -> None:
    some, everything = chosen(found, wanted, most=most), chosen(found, wanted, most=1000)
    assert some.fetch == everything.fetch[:most]
    assert [one.day for one in everything.fetch] == sorted(
        (one.day for one in everything.fetch), reverse=True
    )


def test_an_identifier_without_an_issuer_is_the_holders_or_whose_the_directory_says() -> None:
    bare = Answer("1.2.3", patient_id="9434765919")
    assert not chosen([bare], NHS).fetch
    assert chosen([bare], NHS, unissued="NHS").fetch == (bare,)
    assert chosen([Answer("1.2.3", patient_id="H-12")], OWN).fetch
    assert not chosen([Answer("1.2.3", patient_id="H-12")], OWN, unissued="NHS").fetch


def test_a_number_is_asked_for_as_it_is_stored_and_as_it_is_written() -> None:
    assert keys_of(NHS) == (("PatientID", "9434765919"), ("PatientID", "943 476 5919"))
    assert keys_of(OWN) == (("PatientID", "H-12"),)
    assert keys_of(SealedWanted(accession=" A1 ")) == (("AccessionNumber", "A1"),)


@given(st.sampled_from("*?\\\x00\n"), st.text("H123", max_size=4))
def test_wildcards_ask_for_nobody(wild: str, rest: str) -> None:
    for wanted in (
        SealedWanted(issuer="RQM", patient_id=f"1{wild}{rest}1"),
        SealedWanted(accession=f"A{wild}1"),
    ):
        with pytest.raises(NotAskable) as refused:
            keys_of(wanted)
        assert rest == "" or rest not in str(refused.value)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 2))
def test_complete_is_said_only_where_nothing_lacks(fetched: int, failed: int, refused: int) -> None:
    how = outcome(Tally(fetched=fetched, failed=failed), refused)
    assert (how == "complete") == (fetched > 0 and not failed and not refused)
    assert (how == "nothing found") == (not fetched and not failed and not refused)
    assert (how == "partial") == (fetched > 0 and bool(failed or refused))


def test_words_count() -> None:
    assert words_of(Tally(), ["archive: away"]) == "archive: away"
    words = words_of(Tally(fetched=1, failed=1, instances=7, failed_instances=2), ["x"])
    assert words == "2 studies found, 1 here, 7 images sent; 2 images could not be sent; x"
