"""What to propose to a DICOM node: the stored transfer syntax, and what it can be rewritten into. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imex.delivery.decide import MAX_CONTEXTS
from imex.delivery.transcoding.syntaxes import transcodable_to
from imex.dicom.rewriting import rewritable_to
from imex.directory.model import Accepts

Context = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The contexts of an association: one transfer syntax each, so that the choice among them is ours."""

    contexts: tuple[Context, ...]
    """At most 128 (PS3.8 section 9.3.2.2)."""
    needed: tuple[Context, ...]
    """Of these, the first candidates."""
    covered: frozenset[Context]
    """The kinds of instances that it was made for."""


def candidates(accepts: Accepts, refused: Mapping[Context, str], context: Context) -> tuple[str, ...]:
    """The transfer syntaxes in which an instance may go, the stored one first; empty when in none."""
    sop_class, stored = context
    if accepts.sop_classes is not None and sop_class not in accepts.sop_classes:
        return ()
    if (sop_class, "") in refused:
        return ()
    return tuple(
        syntax
        for syntax in dict.fromkeys((stored, *rewritable_to(stored), *_transcodable(accepts, stored)))
        if (accepts.transfer_syntaxes is None or syntax in accepts.transfer_syntaxes)
        and (sop_class, syntax) not in refused
    )


def _transcodable(accepts: Accepts, stored: str) -> tuple[str, ...]:
    return transcodable_to(stored) if accepts.transcode == "lossless" else ()


def refusal(accepts: Accepts, refused: Mapping[Context, str], context: Context) -> str:
    """Why there is no candidate, in words; empty when there is one."""
    sop_class, stored = context
    if candidates(accepts, refused, context):
        return ""
    if accepts.sop_classes is not None and sop_class not in accepts.sop_classes:
        return f"the recipient's directory entry does not accept {name(sop_class)}"
    if words := refused.get((sop_class, "")):
        return words
    if words := refused.get(context):
        return words + beside(accepts, refused, context)
    return (
        f"the recipient's directory entry does not accept {name(sop_class)} in {name(stored)}"
        f"{beside(accepts, refused, context)}"
    )


def beside(accepts: Accepts, refused: Mapping[Context, str], context: Context) -> str:
    """The other side of a refusal, in words: what is taken instead, and what would help."""
    sop_class, stored = context
    taken = [syntax for syntax in accepts.transfer_syntaxes or () if (sop_class, syntax) not in refused]
    told = f"; it accepts {' and '.join(name(syntax) for syntax in taken)}" if taken else ""
    others = [
        other for other in (*rewritable_to(stored), *_transcodable(accepts, stored)) if other not in taken
    ]
    tried = [other for other in others if (sop_class, other) in refused]
    if tried:
        told += f"; nor does it accept {' or '.join(name(one) for one in dict.fromkeys(tried))}"
    if accepts.transcode == "no" and set(transcodable_to(stored)) & set(taken or transcodable_to(stored)):
        told += "; transcoding is not allowed for it"
    return told


def propose(
    accepts: Accepts,
    refused: Mapping[Context, str],
    wanted: Sequence[Context],
    earlier: Iterable[Context] = (),
) -> Proposal:
    """The contexts for what is wanted, first the first candidate of each, then the others.

    What was asked for `earlier` is asked for again where there is room, so that the association serves the
    next delivery too.
    """
    first: dict[Context, None] = {}
    others: dict[Context, None] = {}
    covered = set()
    for context in wanted:
        sop_class = context[0]
        found = candidates(accepts, refused, context)
        if not found or len(first) + ((sop_class, found[0]) not in first) > MAX_CONTEXTS:
            continue
        covered.add(context)
        first[sop_class, found[0]] = None
        others.update(dict.fromkeys((sop_class, syntax) for syntax in found[1:]))
    contexts = tuple(dict.fromkeys([*first, *others, *earlier]))[:MAX_CONTEXTS]
    return Proposal(contexts, tuple(first), frozenset(covered))


def name(uid: str) -> str:
    """A UID with its name in PS3.6, where it has one."""
    from pydicom.uid import UID  # half a second of imports, for refusals only

    found = UID(uid).name
    return uid if found == uid else f"{found} ({uid})"
