"""What is sealed opens again, with its key and in its context only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.events.sealed import Identity, Sealed
from imex.sealing import CannotOpen, Sealer, SealingError, UnknownKey

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


@given(facts=st.dictionaries(st.text(), st.text() | st.integers() | st.none()), context=st.binary())
def test_what_is_sealed_opens_again(facts: dict[str, object], context: bytes) -> None:
    sealer = Sealer({"k1": OLD}, "k1")
    assert sealer.open(sealer.seal(facts, context), context) == facts


def test_a_model_opens_as_a_model() -> None:
    sealer = Sealer({"k1": OLD}, "k1")
    identity = Identity(patient_id="9434765919", patient_name="Test^Ada")
    sealed = sealer.seal(identity, b"event")
    assert sealer.open_as(Identity, sealed, b"event") == identity
    assert "Test" not in sealed.model_dump_json()


def test_another_context_does_not_open() -> None:
    sealer = Sealer({"k1": OLD}, "k1")
    with pytest.raises(CannotOpen, match="another context"):
        sealer.open(sealer.seal({"a": 1}, b"one"), b"other")


@given(position=st.integers(min_value=0, max_value=23), bit=st.integers(min_value=0, max_value=7))
def test_a_changed_ciphertext_does_not_open(position: int, bit: int) -> None:
    sealer = Sealer({"k1": OLD}, "k1")
    sealed = sealer.seal({"a": 1}, b"")
    raw = bytearray(base64.b64decode(sealed.ciphertext))
    raw[position % len(raw)] ^= 1 << bit
    changed = sealed.model_copy(update={"ciphertext": base64.b64encode(raw).decode()})
    with pytest.raises(CannotOpen):
        sealer.open(changed, b"")


def test_keys_rotate_old_facts_open_and_new_ones_take_the_new_key() -> None:
    before = Sealer({"k1": OLD}, "k1").seal({"a": 1}, b"c")
    rotated = Sealer({"k1": OLD, "k2": NEW}, "k2")
    assert rotated.open(before, b"c") == {"a": 1}
    after = rotated.reseal(before, b"c")
    assert after.key_id == "k2"
    assert rotated.reseal(after, b"c") is after
    with pytest.raises(UnknownKey, match=r"k1.*k2"):
        Sealer({"k2": NEW}, "k2").open(before, b"c")


def test_another_key_of_the_same_name_does_not_open() -> None:
    with pytest.raises(CannotOpen):
        Sealer({"k1": NEW}, "k1").open(Sealer({"k1": OLD}, "k1").seal({"a": 1}, b""), b"")


def test_equal_facts_never_look_equal() -> None:
    sealer = Sealer({"k1": OLD}, "k1")
    assert sealer.seal({"a": 1}, b"").ciphertext != sealer.seal({"a": 1}, b"").ciphertext


def test_unfit_keys_are_refused_at_once() -> None:
    with pytest.raises(SealingError, match="16 bytes"):
        Sealer({"k1": bytes(16)}, "k1")
    with pytest.raises(SealingError, match="'k9'"):
        Sealer({"k1": OLD}, "k9")


@pytest.mark.parametrize("nonce", ["not base64!", "AAAA"])
def test_a_malformed_nonce_is_told(nonce: str) -> None:
    with pytest.raises(CannotOpen, match="nonce"):
        Sealer({"k1": OLD}, "k1").open(Sealed(key_id="k1", nonce=nonce, ciphertext=""), b"")
