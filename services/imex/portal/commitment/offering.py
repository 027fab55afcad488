"""What the portal's DICOM listener offers a sender beside the rest, by the directory."""

from collections.abc import Mapping

from imex.dicom.commitment import PUSH_MODEL
from imex.dimse import Service
from imex.directory.model import Institution
from imex.directory.reports import asks_for_commitment
from imex.portal.commitment.answering import Commitments
from imex.portal.commitment.questions import Asker
from imex.portal.commitment.service import CommitmentService


class CommitmentOffer:
    """Storage commitment for the senders that the directory lets ask; nothing for others."""

    def __init__(self, commitments: Commitments, same_association_s: float) -> None:
        """For `same_association_s` seconds an answer may go out on the association of its question."""
        self._commitments = commitments
        self._same_association_s = same_association_s

    def services(self, institution: Institution, calling_ae: str, called_ae: str) -> Mapping[str, Service]:
        """By abstract syntax, for one association of an identified sender."""
        sender = asks_for_commitment(institution, calling_ae)
        if sender is None:
            return {}
        asker = Asker(institution.code, sender.ae_title, called_ae.strip(" "))
        return {PUSH_MODEL: CommitmentService(self._commitments, asker, self._same_association_s)}
