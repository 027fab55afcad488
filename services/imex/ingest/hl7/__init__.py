"""Reports by HL7 (ORU^R01 through MLLP): each becomes DICOM instances of the study that it is about."""
