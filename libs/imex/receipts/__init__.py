"""Receipts as whoever got one checks them: the signature, the key, the files."""
