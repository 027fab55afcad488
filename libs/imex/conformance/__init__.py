"""The DICOM conformance statement (PS3.2), rendered from the code that it describes."""
