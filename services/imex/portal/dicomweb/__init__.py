"""DICOMweb under `/dicom-web`: what is sent goes on to ingest, what is asked for is answered here."""
