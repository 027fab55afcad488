"""What is accepted of what is proposed, and what a requestor makes of the answer."""

import pytest
from pydicom._uid_dict import UID_dictionary

from imex.dimse.command import CommandField
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
from imex.dimse.negotiation import (
    accept_for,
    accepted_contexts,
    answered_roles,
    choose_contexts,
    fragment_bytes,
    request_for,
    unacceptable,
    wants_returned,
)
from imex.dimse.operations import Answer, Exchange, Terms
from imex.dimse.pdu import AssociateAccept, AssociateReject, AssociateRequest
from imex.dimse.sop_classes import is_storage
from imex.dimse.statuses import is_stored, words

CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"

MR = "1.2.840.10008.5.1.4.1.1.4"


class Silent:
    operations: frozenset[CommandField] = frozenset()
    most_bytes = 0

    async def perform(self, exchange: Exchange) -> Answer:
        raise NotImplementedError


NAMES = {
    uid: entry[0] for uid, entry in UID_dictionary.items() if entry[1] in ("SOP Class", "Meta SOP Class")
}
NOT_BY_C_STORE = {"1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2"}


@pytest.mark.parametrize("uid", sorted(uid for uid, name in NAMES.items() if name))
def test_the_rule_for_storage_agrees_with_the_dictionary_of_the_standard(uid: str) -> None:
    assert is_storage(uid) == ("Storage" in NAMES[uid] and uid not in NOT_BY_C_STORE)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", "1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.999"])
def test_verification_private_and_newer_storage_classes_are_taken(uid: str) -> None:
    (chosen,) = choose_contexts((ProposedContext(1, uid, (EXPLICIT,)),), Terms())
    assert chosen.outcome == ContextOutcome.ACCEPTED


def test_the_senders_first_transfer_syntax_is_chosen_and_queries_are_not_supported() -> None:
    chosen = choose_contexts(
        (ProposedContext(1, CT, (JPEG, EXPLICIT)), ProposedContext(3, FIND, (IMPLICIT,))), Terms()
    )
    assert chosen == (
        ContextResult(1, ContextOutcome.ACCEPTED, JPEG),
        ContextResult(3, ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT),
    )


def _request(**changes: object) -> AssociateRequest:
    arguments: dict[str, object] = {
        "called_ae": "A",
        "calling_ae": "B",
        "contexts": (ProposedContext(1, CT, (EXPLICIT,)),),
        "user_information": UserInformation(),
    }
    return AssociateRequest(**(arguments | changes))  # type: ignore[arg-type]


def _wants(*roles: RoleSelection) -> AssociateRequest:
    return _request(user_information=UserInformation(roles=roles))


def test_a_port_for_storage_answers_no_roles_and_lets_nobody_take_instances_back() -> None:
    request = _wants(RoleSelection(CT, scu=False, scp=True))
    assert wants_returned(request, Terms()) == frozenset()
    assert answered_roles(request, Terms(), frozenset()) == ()


def test_where_instances_are_given_back_only_who_takes_them_gets_a_context_for_storage() -> None:
    terms = Terms(storage=False, returns=True, services={FIND: Silent()})
    proposed = (
        ProposedContext(1, CT, (JPEG, EXPLICIT)),
        ProposedContext(3, MR, (EXPLICIT,)),
        ProposedContext(5, FIND, (IMPLICIT,)),
    )
    request = _wants(
        RoleSelection(CT, scu=True, scp=True),
        RoleSelection(MR, scu=True, scp=False),
        RoleSelection(FIND, scu=True, scp=True),
    )
    returned = wants_returned(request, terms)
    assert returned == {CT}
    assert [result.outcome for result in choose_contexts(proposed, terms, returned)] == [0, 3, 0]
    assert answered_roles(request, terms, returned) == (
        RoleSelection(CT, scu=False, scp=True),
        RoleSelection(MR, scu=False, scp=False),
        RoleSelection(FIND, scu=True, scp=False),
    )


def test_who_brings_reports_may_be_their_scp() -> None:
    terms = Terms(storage=False, services={FIND: Silent()}, reporters=frozenset({FIND}))
    request = _wants(RoleSelection(FIND, scu=False, scp=True), RoleSelection(CT, scu=False, scp=True))
    assert answered_roles(request, terms, frozenset()) == (
        RoleSelection(FIND, scu=False, scp=True),
        RoleSelection(CT, scu=False, scp=False),
    )


def test_the_terms_choose_the_transfer_syntax_or_none() -> None:
    terms = Terms(transfer_syntax=lambda context: next(iter({EXPLICIT} & {*context.transfer_syntaxes}), None))
    chosen = choose_contexts(
        (ProposedContext(1, CT, (JPEG, EXPLICIT)), ProposedContext(3, CT, (JPEG,))), terms
    )
    assert chosen == (
        ContextResult(1, ContextOutcome.ACCEPTED, EXPLICIT),
        ContextResult(3, ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED, JPEG),
    )


def test_another_protocol_version_or_application_context_is_not_acceptable() -> None:
    assert unacceptable(_request()) is None
    assert unacceptable(_request(protocol_version=3)) is None
    assert unacceptable(_request(protocol_version=2)) == AssociateReject(1, 2, 2)
    assert unacceptable(_request(application_context="1.2.3")) == AssociateReject(1, 1, 2)


def test_an_identity_is_answered_only_when_an_answer_was_asked_for() -> None:
    for asked, answer in ((True, b"ticket"), (False, None)):
        identity = UserIdentity(3, asked, b"k")
        accept = accept_for(
            _request(user_information=UserInformation(user_identity=identity)), (), Limits(), b"ticket"
        )
        assert accept.user_information.user_identity_response == answer


def test_a_requestor_proposes_1_to_128_contexts_with_odd_ids() -> None:
    contexts = [(CT, [EXPLICIT])] * 128
    assert [c.id for c in request_for("A", "B", contexts, Limits()).contexts] == list(range(1, 256, 2))
    for count, syntaxes in ((0, [EXPLICIT]), (129, [EXPLICIT]), (1, [])):
        wrong = [(CT, syntaxes)] * count
        with pytest.raises(ValueError, match=r"context"):
            request_for("A", "B", wrong, Limits())


def test_what_was_accepted_is_found_by_class_and_transfer_syntax() -> None:
    request = request_for("A", "B", [(CT, [JPEG]), (CT, [EXPLICIT, IMPLICIT]), (CT, [IMPLICIT])], Limits())
    answer = (ContextResult(1, 4, ""), ContextResult(3, 0, IMPLICIT), ContextResult(5, 0, IMPLICIT))
    accept = AssociateAccept("B", "A", answer, UserInformation())
    assert accepted_contexts(request, accept) == {(CT, IMPLICIT): 3}


@pytest.mark.parametrize("result", [ContextResult(7, 0, EXPLICIT), ContextResult(1, 0, IMPLICIT)])
def test_an_answer_to_what_was_not_proposed_is_a_protocol_error(result: ContextResult) -> None:
    request = request_for("A", "B", [(CT, [EXPLICIT])], Limits())
    with pytest.raises(ProtocolError):
        accepted_contexts(request, AssociateAccept("B", "A", (result,), UserInformation()))


@pytest.mark.parametrize(
    ("stated", "used"), [(0, 131066), (16384, 16378), (8, 2), (9, 2), (2**32 - 1, 131066)]
)
def test_fragments_fit_the_peer_and_are_even(stated: int, used: int) -> None:
    assert fragment_bytes(stated, Limits()) == used


def test_a_peer_that_takes_no_data_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        fragment_bytes(7, Limits())


def test_statuses_have_words() -> None:
    assert words(0xA701) == "A701 out of resources"
    assert words(0xC123) == "C123 cannot understand"
    assert words(0x0122) == "0122 SOP class not supported"
    assert words(0x7777) == "7777 unknown status"
    assert is_stored(0)
    assert is_stored(0xB007)
    assert not is_stored(0xA700)
