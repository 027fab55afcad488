"""Command sets: against pynetdicom's, and against garbage."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import encode as encode_dataset

from imex.dimse import command
from imex.dimse.command import Command, CommandField, Tag
from imex.dimse.errors import ProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_a_store_request_has_the_bytes_of_the_reference_encoder() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 0
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3.45"
    primitive.MoveOriginatorApplicationEntityTitle, primitive.MoveOriginatorMessageID = "ELSEWHERE", 9
    primitive.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    expected = encode_dataset(message.command_set, True, True)
    assert expected is not None
    ours = command.store_request(7, CT, "1.2.3.45", move_originator=("ELSEWHERE", 9))
    assert _without_data_set_type(ours) == _without_data_set_type(expected)


def test_an_echo_request_has_the_bytes_of_the_reference_encoder() -> None:
    primitive = C_ECHO()
    primitive.MessageID, primitive.AffectedSOPClassUID = 3, "1.2.840.10008.1.1"
    message = C_ECHO_RQ()
    message.primitive_to_message(primitive)
    assert command.echo_request(3, "1.2.840.10008.1.1") == encode_dataset(message.command_set, True, True)


def _without_data_set_type(encoded: bytes) -> bytes:
    at = encoded.index(b"\x00\x00\x00\x08\x02\x00\x00\x00") + 8  # any value but 0101 says that there is one
    assert encoded[at : at + 2] != b"\x01\x01"
    return encoded[:at] + encoded[at + 2 :]


def test_a_response_names_what_it_answers_and_why() -> None:
    request = command.decode(command.store_request(7, CT, "1.2.3.45"))
    answer = command.decode(command.response(request, 0xA700, "out of room\\é " + "x" * 80))
    assert answer.field == CommandField.C_STORE_RSP
    assert answer.number(Tag.MESSAGE_ID_RESPONDED_TO) == 7
    assert answer.number(Tag.STATUS) == 0xA700
    assert answer.uid(Tag.AFFECTED_SOP_CLASS_UID) == CT
    assert answer.uid(Tag.AFFECTED_SOP_INSTANCE_UID) == "1.2.3.45"
    comment = answer.text(Tag.ERROR_COMMENT)
    assert comment is not None
    assert comment.startswith("out of room?? xx")
    assert len(comment) == 64
    assert not answer.has_data_set


def test_a_success_has_no_comment() -> None:
    request = command.decode(command.echo_request(1, "1.2.840.10008.1.1"))
    assert command.decode(command.response(request, 0)).text(Tag.ERROR_COMMENT) is None


@given(
    st.dictionaries(
        st.sampled_from([Tag.MESSAGE_ID, Tag.STATUS, Tag.PRIORITY]), st.integers(0, 0xFFFF), max_size=3
    ),
    st.dictionaries(
        st.sampled_from([Tag.AFFECTED_SOP_CLASS_UID, Tag.MOVE_ORIGINATOR_AE]),
        st.text("0123456789.", min_size=1, max_size=16),
        max_size=2,
    ),
)
def test_elements_survive_encoding(numbers: dict[Tag, int], texts: dict[Tag, str]) -> None:
    decoded = command.decode(command.encode({**numbers, **texts}))
    assert {tag: decoded.number(tag) for tag in numbers} == numbers
    assert {tag: decoded.text(tag) for tag in texts} == texts


@given(
    st.binary(max_size=200)
    | st.binary(max_size=60).map(lambda b: command.store_request(1, CT, "1.2")[: len(b)] + b)
)
def test_garbage_raises_nothing_but_protocol_errors(data: bytes) -> None:
    try:
        decoded = command.decode(data)
        for tag in Tag:
            decoded.text(tag)
            decoded.uid(tag)
            decoded.number(tag)
        command.response(decoded, 0)
    except ProtocolError:
        return


@pytest.mark.parametrize("tag", [Tag.COMMAND_FIELD, Tag.DATA_SET_TYPE])
def test_a_command_without_its_mandatory_elements_is_a_protocol_error(tag: Tag) -> None:
    empty = Command({})
    with pytest.raises(ProtocolError, match=f"{tag:04X}"):
        _ = empty.field if tag is Tag.COMMAND_FIELD else empty.has_data_set
