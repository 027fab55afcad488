"""DICOMweb (PS3.18) as far as several services need it: bodies, media types, DICOM JSON, answers."""
