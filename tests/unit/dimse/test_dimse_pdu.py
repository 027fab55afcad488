"""The PDU codec: pynetdicom's bytes as reference, round trips, nothing but ProtocolError for garbage."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as reference
from pynetdicom.pdu_primitives import (
    A_ABORT,
    A_ASSOCIATE,
    A_RELEASE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import PresentationContext

from imex.dimse import pdu
from imex.dimse.errors import ProtocolError
from imex.dimse.items import (
    ContextOutcome,
    ContextResult,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    UserInformation,
)
from imex.dimse.limits import Limits

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
LIMITS = Limits()

REQUEST = pdu.AssociateRequest(
    "IMEX",
    "RQM_PACS",
    (ProposedContext(1, "1.2.840.10008.1.1", (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT, IMPLICIT))),
    UserInformation(
        131072,
        "1.2.3.4",
        "IMEX_0_1",
        async_window=(5, 2),
        roles=(RoleSelection(CT, scu=True, scp=False),),
        extended=((CT, b"\x01\x00"),),
        user_identity=UserIdentity(2, True, b"somebody", b"something"),
    ),
)


def _reference_request() -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "RQM_PACS", "IMEX"
    contexts = []
    for context in REQUEST.contexts:
        other = PresentationContext()
        other.context_id, other.abstract_syntax = context.id, context.abstract_syntax
        other.transfer_syntax = list(context.transfer_syntaxes)
        contexts.append(other)
    primitive.presentation_context_definition_list = contexts
    length, uid, version = (
        MaximumLengthNotification(),
        ImplementationClassUIDNotification(),
        ImplementationVersionNameNotification(),
    )
    length.maximum_length_received = 131072
    uid.implementation_class_uid = "1.2.3.4"
    version.implementation_version_name = "IMEX_0_1"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 2
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, False
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\x01\x00"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"somebody", b"something"
    primitive.user_information = [length, uid, window, role, version, extended, identity]
    encoder = reference.A_ASSOCIATE_RQ()
    encoder.from_primitive(primitive)
    return bytes(encoder.encode())


def test_an_association_request_has_the_bytes_of_the_reference_encoder() -> None:
    assert pdu.encode_associate_request(REQUEST) == _reference_request()


def test_an_association_request_of_the_reference_encoder_is_read_in_full() -> None:
    assert pdu.decode_associate_request(_reference_request()[6:], LIMITS) == REQUEST


def test_an_acceptance_is_read_by_the_reference_decoder() -> None:
    accept = pdu.AssociateAccept(
        "IMEX",
        "RQM_PACS",
        (ContextResult(1, ContextOutcome.ACCEPTED, EXPLICIT), ContextResult(3, 3, EXPLICIT)),
        UserInformation(131072, "1.2.3.4", "IMEX_0_1"),
    )
    encoded = pdu.encode_associate_accept(accept)
    decoder = reference.A_ASSOCIATE_AC()
    decoder.decode(encoded)
    assert bytes(decoder.encode()) == encoded
    primitive = decoder.to_primitive()
    assert [c.result for c in primitive.presentation_context_definition_results_list] == [0, 3]
    assert pdu.decode_associate_accept(encoded[6:], LIMITS).contexts[0] == accept.contexts[0]


def test_the_small_pdus_have_the_bytes_of_the_reference_encoder() -> None:
    abort = reference.A_ABORT_RQ()
    primitive = A_ABORT()
    primitive.abort_source = 0
    abort.from_primitive(primitive)
    assert pdu.encode_abort(pdu.Abort(0, 0)) == abort.encode()
    release, released = reference.A_RELEASE_RQ(), reference.A_RELEASE_RP()
    release.from_primitive(A_RELEASE())
    released.from_primitive(A_RELEASE())
    assert pdu.encode_release_request() == release.encode()
    assert pdu.encode_release_response() == released.encode()
    reject = reference.A_ASSOCIATE_RJ()
    refusal = A_ASSOCIATE()
    refusal.result, refusal.result_source, refusal.diagnostic = 2, 3, 1
    reject.from_primitive(refusal)
    assert pdu.encode_associate_reject(pdu.AssociateReject(2, 3, 1)) == reject.encode()


uids = st.lists(st.integers(0, 99_999), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, parts)))
aes = st.text("ABCDEFGHIJ_-0123456789", min_size=1, max_size=16)
shorts = st.binary(max_size=40)
information = st.builds(
    UserInformation,
    st.integers(0, 2**32 - 1),
    uids,
    st.text("ABC_019", min_size=1, max_size=16),
    st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    st.lists(st.builds(RoleSelection, uids, st.booleans(), st.booleans()), max_size=3).map(tuple),
    st.lists(st.tuples(uids, shorts), max_size=3).map(tuple),
    st.none() | st.builds(UserIdentity, st.integers(1, 5), st.booleans(), shorts, shorts),
    st.none() | shorts,
)
contexts = st.lists(
    st.builds(
        ProposedContext,
        st.integers(0, 127).map(lambda n: 2 * n + 1),
        uids,
        st.lists(uids, min_size=1, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda context: context.id,
).map(tuple)
requests = st.builds(pdu.AssociateRequest, aes, aes, contexts, information, uids, st.integers(0, 65535))


@given(requests)
def test_a_request_survives_encoding(request: pdu.AssociateRequest) -> None:
    assert pdu.decode_associate_request(pdu.encode_associate_request(request)[6:], LIMITS) == request


@given(
    st.builds(
        pdu.AssociateAccept,
        aes,
        aes,
        st.lists(st.builds(ContextResult, st.integers(1, 255), st.just(0), uids), max_size=9).map(tuple),
        information,
    )
)
def test_an_acceptance_survives_encoding(accept: pdu.AssociateAccept) -> None:
    assert pdu.decode_associate_accept(pdu.encode_associate_accept(accept)[6:], LIMITS) == accept


@given(st.binary(max_size=400))
def test_garbage_is_a_protocol_error_or_a_pdu(body: bytes) -> None:
    fixed = bytes(68)
    for decode in (pdu.decode_associate_request, pdu.decode_associate_accept):
        for data in (body, fixed + body):
            try:
                decode(data, LIMITS)
            except ProtocolError:
                continue
    for short in (pdu.decode_abort, pdu.decode_associate_reject):
        try:
            short(body)
        except ProtocolError:
            continue


@given(requests, st.data())
def test_a_damaged_request_is_a_protocol_error_or_a_pdu(
    request: pdu.AssociateRequest, data: st.DataObject
) -> None:
    body = bytearray(pdu.encode_associate_request(request)[6:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    try:
        pdu.decode_associate_request(bytes(body), LIMITS)
    except ProtocolError:
        return


def _with_contexts(count: int) -> bytes:
    offered = tuple(ProposedContext(2 * (n % 128) + 1, CT, (EXPLICIT,)) for n in range(count))
    return pdu.encode_associate_request(pdu.AssociateRequest("A", "B", offered, UserInformation(0, "1")))[6:]


def test_128_presentation_contexts_are_read_and_more_are_not() -> None:
    assert len(pdu.decode_associate_request(_with_contexts(128), LIMITS).contexts) == 128
    with pytest.raises(ProtocolError, match="more than 128"):
        pdu.decode_associate_request(_with_contexts(129), LIMITS)


def test_too_many_transfer_syntaxes_and_sub_items_are_refused() -> None:
    crowded = pdu.AssociateRequest(
        "A", "B", (ProposedContext(1, CT, (EXPLICIT,) * 129),), UserInformation(0, "1")
    )
    with pytest.raises(ProtocolError, match="transfer syntaxes"):
        pdu.decode_associate_request(pdu.encode_associate_request(crowded)[6:], LIMITS)
    roles = (RoleSelection(CT, scu=True, scp=True),) * 600
    crowded = pdu.AssociateRequest(
        "A", "B", (ProposedContext(1, CT, (EXPLICIT,)),), UserInformation(0, "1", roles=roles)
    )
    with pytest.raises(ProtocolError, match="sub-items"):
        pdu.decode_associate_request(pdu.encode_associate_request(crowded)[6:], LIMITS)


def test_a_context_id_that_is_even_or_used_twice_is_refused() -> None:
    body = bytearray(_with_contexts(2))
    assert body.count(struct.pack(">BxH", 0x20, 56)) == 2
    first = body.index(struct.pack(">BxH", 0x20, 56)) + 4
    body[first] = 3
    with pytest.raises(ProtocolError, match="twice"):
        pdu.decode_associate_request(bytes(body), LIMITS)
    body[first] = 2
    with pytest.raises(ProtocolError, match="not odd"):
        pdu.decode_associate_request(bytes(body), LIMITS)


def test_an_identity_does_not_show_its_secrets() -> None:
    assert "something" not in repr(REQUEST)


@pytest.mark.parametrize("title", ["", "SEVENTEEN_LETTERS"])
def test_an_ae_title_that_does_not_fit_is_refused_before_it_is_sent(title: str) -> None:
    with pytest.raises(ValueError, match="AE title"):
        pdu.encode_associate_request(
            pdu.AssociateRequest(title, "B", (ProposedContext(1, CT, (EXPLICIT,)),), UserInformation())
        )
