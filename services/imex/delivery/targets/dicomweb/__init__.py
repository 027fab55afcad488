"""DICOMweb servers: STOW-RS, with access tokens where they want them."""
