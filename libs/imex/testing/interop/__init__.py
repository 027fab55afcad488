"""Foreign DICOM implementations as senders and receivers, for the interoperability matrix."""
