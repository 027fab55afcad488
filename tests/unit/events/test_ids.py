"""Derived ids: the same fact has the same id, another fact another."""

from hypothesis import given
from hypothesis import strategies as st

from imex.events.ids import derived, root_traceparent, share_id, trace_id_hex

words = st.text(alphabet=st.characters(exclude_characters="\x1f", codec="utf-8"), max_size=12)


@given(st.lists(words, min_size=1), st.lists(words, min_size=1))
def test_ids_differ_exactly_when_their_keys_do(one: list[str], other: list[str]) -> None:
    assert (derived(*one) == derived(*other)) == (one == other)


def test_a_new_episode_is_a_new_share() -> None:
    first = share_id("RQM", "1.2.3", "RT3", "direct-care", 1)
    assert first == share_id("RQM", "1.2.3", "RT3", "direct-care", 1)
    assert first != share_id("RQM", "1.2.3", "RT3", "direct-care", 2)


def test_two_institutions_studies_of_one_uid_have_traces_of_their_own() -> None:
    assert trace_id_hex("RQM", "1.2.3") != trace_id_hex("RT3", "1.2.3")


@given(words, words)
def test_the_root_can_be_named_by_who_has_not_met_it(source: str, study: str) -> None:
    version, trace, span, flags = root_traceparent(source, study).split("-")
    assert (version, flags) == ("00", "01")
    assert trace == trace_id_hex(source, study)
    assert len(span) == 16
    assert int(span, 16) > 0
