"""User identity negotiation (PS3.7 D.3.3.7): handed to the policy, answered where an answer is asked for."""

import pytest

from imex.dimse import Accept, AssociationRequest, Limits, Reject
from imex.dimse.items import UserIdentity
from imex.dimse.pdu import PduType, decode_associate_accept, decode_associate_reject
from imex.testing.dimse import DimseRecorder, acceptor
from imex.testing.raw_peer import RawPeer

KINDS = {
    1: UserIdentity(1, True, b"user"),
    2: UserIdentity(2, True, b"user", b"passcode"),
    3: UserIdentity(3, True, b"kerberos ticket"),
    4: UserIdentity(4, True, b"<saml/>"),
    5: UserIdentity(5, True, b"header.payload.signature"),
}


class Knowing(DimseRecorder):
    """Answers with what it was shown, as Kerberos and SAML want."""

    async def admit(self, request: AssociationRequest) -> Accept | Reject:
        decision = await super().admit(request)
        assert isinstance(decision, Accept)
        assert request.user_identity is not None
        return Accept(decision.handler, b"seen: " + request.user_identity.primary)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_policy_sees_every_kind_and_its_answer_reaches_the_peer(kind: int) -> None:
    policy = Knowing()
    async with acceptor(policy) as listening:
        peer = await RawPeer.associated(listening.port, identity=KINDS[kind])
        accepted = decode_associate_accept(peer.accepted, Limits())
        assert accepted.user_information.user_identity_response == b"seen: " + KINDS[kind].primary
        assert policy.requests[0].user_identity == KINDS[kind]
        peer.writer.close()


async def test_no_answer_where_none_is_asked_for() -> None:
    async with acceptor(Knowing()) as listening:
        peer = await RawPeer.associated(listening.port, identity=UserIdentity(1, False, b"user"))
        accepted = decode_associate_accept(peer.accepted, Limits())
        assert accepted.user_information.user_identity_response is None
        peer.writer.close()


async def test_a_policy_may_turn_an_identity_down() -> None:
    def refuse(request: AssociationRequest) -> Reject | None:
        assert request.user_identity is not None
        return Reject(1, 1, 1, "not known") if request.user_identity.primary == b"mallory" else None

    async with acceptor(DimseRecorder(on_admit=refuse)) as listening:
        peer = await RawPeer.connected(listening.port)
        peer.request(calling_ae="A", called_ae="B", identity=UserIdentity(1, True, b"mallory"))
        kind, body = await peer.pdu()
        assert kind == PduType.ASSOCIATE_RJ
        assert decode_associate_reject(body).reason == 1
        peer.writer.close()
