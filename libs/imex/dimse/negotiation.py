"""Pure decisions on an A-ASSOCIATE: which contexts are taken and how, and what a requestor got."""

from collections.abc import Container, Iterable, Mapping, Sequence

from imex.dimse.errors import ProtocolError
from imex.dimse.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from imex.dimse.items import (
    ContextOutcome,
    ContextResult,
    ProposedContext,
    RoleSelection,
    UserInformation,
)
from imex.dimse.limits import Limits
from imex.dimse.operations import Terms
from imex.dimse.pdu import (
    APPLICATION_CONTEXT,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
)
from imex.dimse.sop_classes import VERIFICATION, is_storage


def unacceptable(request: AssociateRequest) -> AssociateReject | None:
    """The rejection of a request that this provider cannot accept whoever asks (PS3.8 table 9-21)."""
    if not request.protocol_version & 1:
        return AssociateReject(1, 2, 2)
    if request.application_context != APPLICATION_CONTEXT:
        return AssociateReject(1, 1, 2)
    return None


def choose_contexts(
    proposed: Iterable[ProposedContext], terms: Terms, returned: Container[str] = ()
) -> tuple[ContextResult, ...]:
    """Accept each context whose abstract syntax the terms allow, in the transfer syntax that they choose.

    `returned` are the SOP classes of which the requestor wants to be the SCP; see `wants_returned`.
    """
    results = []
    for context in proposed:
        outcome, transfer_syntax = ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED, context.transfer_syntaxes[0]
        if _is_supported(context.abstract_syntax, terms, returned):
            chosen = terms.transfer_syntax(context)
            outcome = ContextOutcome.ACCEPTED
            if chosen is None:
                outcome = ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED
            else:
                transfer_syntax = chosen
        results.append(ContextResult(context.id, outcome, transfer_syntax))
    return tuple(results)


def _is_supported(abstract_syntax: str, terms: Terms, returned: Container[str]) -> bool:
    if abstract_syntax == VERIFICATION or abstract_syntax in terms.services:
        return True
    return is_storage(abstract_syntax) and (terms.storage or abstract_syntax in returned)


def wants_returned(request: AssociateRequest, terms: Terms) -> frozenset[str]:
    """The storage SOP classes that the requestor takes on this association, where the terms allow it."""
    if not terms.returns:
        return frozenset()
    roles = request.user_information.roles
    return frozenset(role.sop_class for role in roles if role.scp and is_storage(role.sop_class))


def answered_roles(
    request: AssociateRequest, terms: Terms, returned: Container[str]
) -> tuple[RoleSelection, ...]:
    """What is answered to the roles that the requestor proposes (PS3.7 D.3.3.4.2).

    Where the terms are those of a port for storage only, nothing: the roles keep their defaults.
    """
    if not terms.services:
        return ()
    answers: dict[str, RoleSelection] = {}
    for role in request.user_information.roles:
        supported = terms.storage or not is_storage(role.sop_class)
        may_serve = role.sop_class in returned or role.sop_class in terms.reporters
        answer = RoleSelection(role.sop_class, role.scu and supported, role.scp and may_serve)
        answers.setdefault(role.sop_class, answer)
    return tuple(answers.values())


def operations_window(request: AssociateRequest, limits: Limits) -> tuple[int, int] | None:
    """The asynchronous operations window of the answer: (invoked, performed) by the requestor; None for none.

    As many as the requestor wants to invoke (0: any number) and this side carries out at a time. This side
    invokes nothing, so that the requestor performs at most the one operation of the default. Not mentioned
    where the requestor does not: then one at a time (PS3.7 D.3.3.3).
    """
    offered = request.user_information.async_window
    if offered is None:
        return None
    return min(offered[0] or limits.operations, limits.operations), 1


def accept_for(
    request: AssociateRequest,
    contexts: tuple[ContextResult, ...],
    limits: Limits,
    user_identity_response: bytes | None = None,
    roles: tuple[RoleSelection, ...] = (),
) -> AssociateAccept:
    """The A-ASSOCIATE-AC; roles that are not mentioned keep their defaults.

    A positive response that was asked for is given: who is accepted has been judged by the policy.
    """
    identity = request.user_information.user_identity
    wants_response = identity is not None and identity.response_requested
    return AssociateAccept(
        request.called_ae or " ",
        request.calling_ae or " ",
        contexts,
        UserInformation(
            limits.max_pdu,
            IMPLEMENTATION_CLASS_UID,
            IMPLEMENTATION_VERSION,
            operations_window(request, limits),
            roles,
            user_identity_response=(user_identity_response or b"") if wants_response else None,
        ),
    )


def request_for(
    calling_ae: str,
    called_ae: str,
    contexts: Sequence[tuple[str, Sequence[str]]],
    limits: Limits,
    roles: Sequence[RoleSelection] = (),
) -> AssociateRequest:
    """The A-ASSOCIATE-RQ for contexts of (abstract syntax, transfer syntaxes). Raises ValueError."""
    if not 0 < len(contexts) <= limits.contexts:
        raise ValueError(
            f"an association has 1 to {limits.contexts} presentation contexts, not {len(contexts)}"
        )
    if any(not transfer_syntaxes for _, transfer_syntaxes in contexts):
        raise ValueError("a presentation context has at least one transfer syntax")
    return AssociateRequest(
        called_ae,
        calling_ae,
        tuple(
            ProposedContext(2 * index + 1, abstract, tuple(transfer_syntaxes))
            for index, (abstract, transfer_syntaxes) in enumerate(contexts)
        ),
        UserInformation(limits.max_pdu, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, roles=tuple(roles)),
    )


def accepted_contexts(request: AssociateRequest, accept: AssociateAccept) -> Mapping[tuple[str, str], int]:
    """(abstract syntax, transfer syntax) → context id, of what was accepted; the first one proposed wins.

    Raises ProtocolError for an answer to what was not asked.
    """
    proposed = {context.id: context for context in request.contexts}
    accepted: dict[tuple[str, str], int] = {}
    for result in sorted(accept.contexts, key=lambda result: result.id):
        context = proposed.get(result.id)
        if context is None:
            raise ProtocolError(f"presentation context {result.id} was accepted and never proposed")
        if result.outcome != ContextOutcome.ACCEPTED:
            continue
        if result.transfer_syntax not in context.transfer_syntaxes:
            raise ProtocolError(
                f"context {result.id} was accepted in a transfer syntax that was not proposed"
            )
        accepted.setdefault((context.abstract_syntax, result.transfer_syntax), result.id)
    return accepted


def fragment_bytes(peer_max_pdu: int, limits: Limits) -> int:
    """Longest even fragment for a peer's maximum length (0: unlimited). Raises ProtocolError if none fits."""
    largest = min(peer_max_pdu or limits.max_pdu, limits.max_pdu) - 6
    if largest < 2:
        raise ProtocolError(f"the peer takes PDUs of {peer_max_pdu} bytes only, too few for any data")
    return largest - largest % 2
