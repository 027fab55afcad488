"""De-identification by PS3.15 Annex E, and the way back. Pure: data sets in, data sets and facts out."""
