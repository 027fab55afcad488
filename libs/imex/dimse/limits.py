"""Every cap and deadline of the upper layer, in one place.

A peer states lengths and counts and decides when it speaks; beyond these values it is not believed.
"""

from dataclasses import dataclass

KIB = 1024
GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps (bytes, counts) and deadlines (seconds) of one acceptor or requestor.

    Sizes
        max_pdu: longest P-DATA-TF variable field offered to the peer and accepted from it (PS3.8 D.1).
        associate_bytes: longest A-ASSOCIATE-RQ or -AC.
        contexts, transfer_syntaxes, user_items: presentation contexts in an A-ASSOCIATE, transfer syntaxes
            in a context, sub-items in the user information.
        command_bytes: longest command set of one message.
        dataset_bytes: longest data set of one message; a longer one aborts the association.
        empty_fragments: fragments in a row that carry nothing and end nothing.
        receive_window: bytes that one association may have received and its sink not yet taken; reading stops
            above it and goes on below half of it.
        associations, connections: at a time, in one acceptor.

    Deadlines
        artim_s: the ARTIM timer (PS3.8 9.1.5): connection without A-ASSOCIATE-RQ, or not closed by the peer.
        admit_s: the policy's decision.
        idle_s: between two messages.
        progress_s, progress_bytes: within a message a peer has to bring this many bytes in this time.
        write_s: a peer that does not read what was sent to it.
        connect_s, associate_s, response_s, release_s: a requestor's waits for the TCP connection, the
            A-ASSOCIATE-AC, a response, and the A-RELEASE-RP.
    """

    max_pdu: int = 128 * KIB
    associate_bytes: int = 256 * KIB
    contexts: int = 128
    transfer_syntaxes: int = 128
    user_items: int = 512
    command_bytes: int = 16 * KIB
    dataset_bytes: int = 16 * GIB
    empty_fragments: int = 64
    receive_window: int = 1024 * KIB
    associations: int = 200
    connections: int = 1000

    artim_s: float = 15.0
    admit_s: float = 10.0
    idle_s: float = 55.0
    progress_s: float = 30.0
    progress_bytes: int = 512
    write_s: float = 30.0
    connect_s: float = 10.0
    associate_s: float = 30.0
    response_s: float = 120.0
    release_s: float = 10.0
