"""Whatever a data set holds: nobody is named, UIDs and intervals are consistent, the way back works."""

import re
from copy import deepcopy
from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imex.deidentification.deidentify import deidentify
from imex.deidentification.keys import ProjectKey, patient_key
from imex.deidentification.profile import CODES, MODIFIED_DATES, Profile
from imex.deidentification.reading import uids_of, walk
from imex.deidentification.reidentify import facts_of, reidentify
from imex.deidentification.release import residue

KEY = ProjectKey(bytes(range(32)), "trial")
OTHER = ProjectKey(bytes(range(32)), "other")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.text(alphabet="BCDFGHKLMNPRSTVWZ", min_size=4, max_size=9)
identifiers = st.from_regex(r"[A-Z]{2}[0-9]{6}", fullmatch=True)
uids = st.lists(st.integers(1, 10**9), min_size=3, max_size=8).map(
    lambda parts: "1.2.826." + ".".join(map(str, parts))
)
days = st.dates(date(1950, 1, 1), date(2026, 1, 1))
options = st.sets(st.sampled_from([one for one in CODES if one and not one.endswith("full-dates")])).map(
    frozenset
)


@st.composite
def data_sets(draw: st.DrawFn) -> Dataset:
    """A data set about one patient, who is named in every place that people write names into."""
    family, given_name, mrn, accession = draw(words), draw(words), draw(identifiers), draw(identifiers)
    study, series, instance, frame = (draw(uids) for _ in range(4))
    dataset = Dataset()
    dataset.add_new(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2")
    dataset.add_new(0x00080018, "UI", instance)
    dataset.add_new(0x0020000D, "UI", study)
    dataset.add_new(0x0020000E, "UI", series)
    dataset.add_new(0x00200052, "UI", frame)
    dataset.add_new(0x00080020, "DA", draw(days).strftime("%Y%m%d"))
    dataset.add_new(0x00080022, "DA", draw(days).strftime("%Y%m%d"))
    dataset.add_new(0x00100010, "PN", f"{family}^{given_name}")
    dataset.add_new(0x00100020, "LO", mrn)
    dataset.add_new(0x00100030, "DA", draw(days).strftime("%Y%m%d"))
    dataset.add_new(0x00080050, "SH", accession)
    dataset.add_new(0x00090010, "LO", "SOMEBODY")
    dataset.add_new(0x00091001, "LO", f"{family} {mrn}")
    told = draw(
        st.sampled_from([f"CT of {family}, {given_name}", f"Pt {mrn} thorax", f"acc {accession} follow-up"])
    )
    for tag, vr in ((0x00081030, "LO"), (0x0008103E, "LO"), (0x00204000, "LT"), (0x00104000, "LT")):
        if draw(st.booleans()):
            dataset.add_new(tag, vr, told)
    item = Dataset()
    item.add_new(0x00081155, "UI", draw(uids))
    item.add_new(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2")
    item.add_new(0x00100010, "PN", f"{family}^{given_name}")
    item.add_new(0x0040A160, "UT", told)
    item.add_new(0x00081115, "SQ", Sequence([deepcopy(item)]))
    for tag in (0x00081140, 0x0040A730, 0x00400275):
        if draw(st.booleans()):
            dataset.add_new(tag, "SQ", Sequence([deepcopy(item)]))
    return dataset


@quick
@given(data_sets(), options)
def test_no_known_identifier_survives(dataset: Dataset, chosen: frozenset[str]) -> None:
    family, given_name = str(dataset[0x00100010].value).split("^")
    secrets = [family, given_name, str(dataset[0x00100020].value), str(dataset[0x00080050].value)]
    uids_before = {uid for uid in uids_of(dataset) if not uid.startswith("1.2.840.10008")}
    outcome = deidentify(dataset, Profile(chosen), KEY, "RQM")
    text = str(dataset).replace(outcome.pseudonym, "")
    assert residue(dataset, outcome) == ""
    assert not [secret for secret in secrets if re.search(rf"\b{secret}\b", text)]
    assert not uids_before & uids_of(dataset)
    assert dataset.PatientIdentityRemoved == "YES"
    assert len(dataset.DeidentificationMethodCodeSequence) == 1 + len(chosen)


@quick
@given(data_sets(), options)
def test_references_are_restored_on_the_way_back(dataset: Dataset, chosen: frozenset[str]) -> None:
    before = deepcopy(dataset)
    origin = facts_of(dataset)
    outcome = deidentify(dataset, Profile(chosen), KEY, "RQM")
    assert len(set(outcome.uids.values())) == len(outcome.uids), "injective"
    reidentify(
        dataset, {given: original for original, given in outcome.uids.items()}, outcome.pseudonym, origin
    )
    for tag in (
        0x00080018,
        0x0020000D,
        0x0020000E,
        0x00200052,
        0x00100010,
        0x00100020,
        0x00100030,
        0x00080050,
    ):
        assert dataset[tag].value == before[tag].value
    assert uids_of(dataset) <= uids_of(before) | {"1.2.840.10008.5.1.4.1.1.2"}
    assert outcome.pseudonym not in str(dataset)
    assert not [tag for _, tag, _ in walk(dataset) if tag in (0x00120062, 0x00120064, 0x00280303)]


@quick
@given(data_sets())
def test_intervals_between_dates_stay(dataset: Dataset) -> None:
    def apart(one: Dataset) -> timedelta:
        dates = [date.fromisoformat(str(one[tag].value)) for tag in (0x00080020, 0x00080022)]
        return dates[0] - dates[1]

    before, first = apart(dataset), str(dataset[0x00080020].value)
    deidentify(dataset, Profile(frozenset({MODIFIED_DATES})), KEY, "RQM")
    assert apart(dataset) == before
    assert str(dataset[0x00080020].value) < first


@quick
@given(st.sets(uids, min_size=2, max_size=30))
def test_uids_are_told_apart_and_cannot_be_linked_between_projects(originals: set[str]) -> None:
    given_uids = {uid: KEY.uid(uid) for uid in originals}
    assert len(set(given_uids.values())) == len(originals)
    assert all(KEY.uid(uid) == one for uid, one in given_uids.items())
    assert not set(given_uids.values()) & {OTHER.uid(uid) for uid in originals}
    assert all(re.fullmatch(r"2\.25\.[1-9][0-9]*", one) and len(one) <= 64 for one in given_uids.values())


def test_a_person_is_one_in_a_project_by_nhs_number_and_else_by_who_assigned_the_identifier() -> None:
    assert patient_key("RQM", "1.2", "943 476 5919", "NHS") == patient_key("RT3", "1.3", "9434765919", "NHS")
    for issuer in ("nhs", " NHS ", "2.16.840.1.113883.2.1.4.1"):
        assert patient_key("RQM", "1.2", "943-476-5919", issuer) == patient_key(
            "RT3", "1", "9434765919", "NHS"
        )
    assert patient_key("RQM", "1.2", "1", "") != patient_key("RT3", "1.2", "1", "")
    assert patient_key("RQM", "1.2", "", "") != patient_key("RQM", "1.3", "", "")


def test_a_key_does_not_show() -> None:
    assert repr(KEY) == "ProjectKey('trial')"
