"""Which senders may ask for storage commitments, and where they are told."""

from imex.directory.model import DicomEndpoint, Institution, Sender


def asks_for_commitment(institution: Institution, ae_title: str) -> Sender | None:
    """The sender that may ask; None where none of this AE title may, or not from all its networks."""
    entries = [sender for sender in institution.senders if sender.ae_title == ae_title.strip(" ")]
    return entries[0] if entries and all(sender.commitment for sender in entries) else None


def node_for_reports(institution: Institution, sender: Sender) -> DicomEndpoint | None:
    """The DICOM node to which its commitments are reported; None where the directory names none."""
    for endpoint in institution.endpoints:
        if isinstance(endpoint, DicomEndpoint) and (
            endpoint.name == sender.report_to
            if sender.report_to is not None
            else endpoint.ae_title == sender.ae_title
        ):
            return endpoint
    return None
