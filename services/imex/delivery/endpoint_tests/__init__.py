"""Tests of endpoints: step by step whether, and how well, an institution can be delivered to."""
