"""Pixel data from one transfer syntax into another, in a process of its own."""
