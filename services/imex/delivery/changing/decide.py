"""What is to change in a delivery's data sets: from the directory, and what is known of the study. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from imex.directory import DirectoryIndex
from imex.directory.policies import Deidentification, IdentityPolicy

_AS_RECEIVED = IdentityPolicy()


class MayNotLeave(Exception):
    """Nothing of the delivery may be sent now; the words are fit for a timeline."""


class AgreementUnknown(MayNotLeave):
    """The directory that is known here does not have the agreement; a newer one may."""


class CannotChange(Exception):
    """An instance cannot be changed as it has to be, or not safely; it is not sent. Words for the receipt."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The study is one that left the recipient de-identified: the sender returns it."""

    project: str
    study_uid: str
    """As the recipient knows it."""
    pseudonym: str
    sealed_patient: Mapping[str, Any]
    sealed_study: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a delivery when it is decided what changes."""

    source: str
    recipient: str
    agreement: str | None
    """That allowed the share; None from before routing said so."""
    begun: Mapping[str, Any] | None
    """The de-identification with which something of it has been sent."""
    identity: IdentityPolicy
    """Of the endpoint."""
    returned: Returned | None = None
    reverse: bool = False
    """The sender has identifiers of its own for those of the recipient."""


@dataclass(frozen=True, slots=True)
class Coercion:
    """Under which identifiers the recipient wants it, and whether its own may have to be put back."""

    identity: IdentityPolicy
    reverse: bool


Change = Deidentification | Returned | Coercion


def change_for(index: DirectoryIndex, asked: Asked) -> Change | None:
    """What changes; None where everything goes as it was received.

    What an agreement has once asked for holds for the whole delivery, so that no part of it leaves otherwise.

    Raises:
        MayNotLeave: the agreement cannot be found, so that nobody knows what it asks for.
    """
    wanted = _asked_by_agreement(index, asked)
    if asked.begun is not None:
        try:
            begun = Deidentification.model_validate(dict(asked.begun))
        except ValidationError:
            raise MayNotLeave("how it was de-identified before cannot be read: nothing leaves") from None
        if wanted is None or wanted.project != begun.project:
            wanted = begun
    if wanted is not None:
        return wanted
    if asked.returned is not None:
        return asked.returned
    if asked.reverse or asked.identity != _AS_RECEIVED:
        return Coercion(asked.identity, asked.reverse)
    return None


def _asked_by_agreement(index: DirectoryIndex, asked: Asked) -> Deidentification | None:
    between = index.agreements_between(asked.source, asked.recipient)
    if asked.agreement is None:
        # from before manifests named the agreement, when none could ask for it
        if any(one.deidentify for one in between):
            raise MayNotLeave(
                "it is not known which agreement allowed the share, and one of them asks for "
                "de-identification: revoke the share, and share the study again"
            )
        return None
    found = next((one for one in between if one.id == asked.agreement), None)
    if found is None:
        raise AgreementUnknown(
            f"agreement {asked.agreement} is not in the directory for {asked.source} to {asked.recipient}: "
            "nothing leaves until it is"
        )
    return found.deidentify
