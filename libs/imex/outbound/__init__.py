"""Where connections to hosts that others name may go."""

from imex.outbound.networks import ALWAYS_DENIED, AddressDenied, Outbound

__all__ = ["ALWAYS_DENIED", "AddressDenied", "Outbound"]
