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
        short_fragments: fragments of fewer than 64 bytes that end nothing, and P-DATA-TF without any, in a
            row: each costs as much time as one that carries data.
        receive_window: bytes that one association may have received and its sink not yet taken; reading stops
            above it and goes on below half of it.
        receive_memory: bytes that all connections of an acceptor receive into, where its user shares none of
            its own; when they run short, less may wait for each sink than the window.
        indications: pieces of messages in that window, whatever their size: each costs memory of its own.
        unsent, requestor_unsent: bytes that may wait for a peer to read them before more is made; a
            requestor, which sends data sets, has more of them under way.
        operations: operations of one association that an acceptor carries out at a time, where the peer asks
            for an asynchronous operations window (PS3.7 D.3.3.3).
        ended_bytes, ended_pieces: bytes, and PDUs or fragments, that a peer may go on sending after the end
            of its association before its connection is cut: enough for what was under way when it was told.
        associations, connections: at a time, in one acceptor; beyond so many connections the oldest that has
            not asked for an association gives way.
        handshakes_per_address: TLS handshakes under way at a time from one address (IPv6: one /64).

    Deadlines
        handshake_s: from the connection to the end of the TLS handshake, a PROXY header before it included.
        handshake_stalled_s: after so long it gives way to one that waits for a place; an honest peer takes a
            second and more on a busy machine when a hundred of them come at once.
        artim_s: the ARTIM timer (PS3.8 9.1.5): connection without A-ASSOCIATE-RQ, or not closed by the peer.
        close_s: what a peer that was silent beyond a deadline, or does not read, has for the last PDU; with
            `idle_s` it is below the 60 s after which a silent peer is gone.
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
    short_fragments: int = 256
    receive_window: int = 1024 * KIB
    receive_memory: int = 32 * 1024 * KIB
    indications: int = 8192
    unsent: int = 64 * KIB
    requestor_unsent: int = 512 * KIB
    operations: int = 8
    ended_bytes: int = 16 * 1024 * KIB
    ended_pieces: int = 4096
    associations: int = 200
    connections: int = 1000
    handshakes_per_address: int = 100

    handshake_s: float = 10.0
    handshake_stalled_s: float = 3.0
    artim_s: float = 15.0
    close_s: float = 4.0
    admit_s: float = 10.0
    idle_s: float = 55.0
    progress_s: float = 30.0
    progress_bytes: int = 512
    write_s: float = 30.0
    connect_s: float = 10.0
    associate_s: float = 30.0
    response_s: float = 120.0
    release_s: float = 10.0
