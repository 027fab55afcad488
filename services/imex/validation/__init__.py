"""Validation decides of every instance: accepted, held in quarantine, or known already."""
