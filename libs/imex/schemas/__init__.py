"""Writes the contracts below `schemas/`, and checks that what is committed is what the code says."""
