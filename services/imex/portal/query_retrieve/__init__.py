"""DICOM queries and retrievals: what has been shared with an institution, for its own PACS to pull."""
