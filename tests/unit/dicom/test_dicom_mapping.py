"""Recipients' own identifiers: whatever is asked for, one stands for one."""

from hypothesis import given
from hypothesis import strategies as st

from imex.dicom.mapping import Held, Told, collision, domain, same_person

PEOPLE = {"A^B": "19700101", "C^D": "19800202", "": ""}
wishes = st.tuples(
    st.sampled_from(["RQM", "RXX"]),
    st.sampled_from(["", "NHS", "RQM"]),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(["B1", "B2", "B3"]),
    st.sampled_from(sorted(PEOPLE)),
)


@given(st.lists(wishes, max_size=40))
def test_what_is_let_in_is_one_for_one(asked: list[tuple[str, str, str, str, str]]) -> None:
    held: list[Held] = []
    for source, issuer, value, own, name in asked:
        told = Told(issuer=issuer, value=value, own=own, name=name, birth_date=PEOPLE[name])
        one = Held(source, domain(issuer, source), value, own, name, PEOPLE[name])
        beside = [h for h in held if h.own == own or (h.source == source and h.value == value)]
        known = any((h.source, h.issuer, h.value) == (one.source, one.issuer, one.value) for h in beside)
        if not collision(beside, "patient", source, told) and not known:
            held.append(one)
    for source in ("RQM", "RXX"):
        ours = [one for one in held if one.source == source]
        assert len({(one.issuer, one.value) for one in ours}) == len(ours) == len({one.own for one in ours})
    for one in held:
        for other in held:
            if one.own == other.own and one is not other:
                assert one.name and other.name
                assert same_person(one.name, one.birth_date, other.name, other.birth_date)


def test_persons_are_compared_as_far_as_they_are_known() -> None:
    assert same_person("Müller^Anna", "19700101", "MULLER^ANNA^", "1970-01-01")
    assert same_person("", "19700101", "Smith^Jane", "")
    assert not same_person("Smith^Jane", "19700101", "Smith^Jane", "19700102")
    assert not same_person("Smith^Jane", "", "Smith^Janet", "")
