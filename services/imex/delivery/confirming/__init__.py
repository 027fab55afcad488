"""Asking destinations for what they were sent: C-FIND, QIDO-RS, storage commitment."""
