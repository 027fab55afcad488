"""Sealing of identifying facts (AES-256-GCM); the ciphertext's model is in ``imex.events``."""

from imex.sealing.sealer import CannotOpen, Sealer, SealingError, UnknownKey

__all__ = ["CannotOpen", "Sealer", "SealingError", "UnknownKey"]
