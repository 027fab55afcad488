"""Fetching studies from holders' archives, to answer requests."""
