"""What has to say that an instance is at its destination, by the endpoint."""

from typing import Literal

from imex.directory.model import DicomEndpoint, DicomwebEndpoint, Endpoint

Way = Literal["none", "query", "commitment"]


def way_of(endpoint: Endpoint) -> Way:
    """As the directory says: `none` means that the answer to the sending says it."""
    if isinstance(endpoint, DicomEndpoint | DicomwebEndpoint):
        return endpoint.confirm
    return "none"


def asks(endpoint: Endpoint) -> bool:
    """Whether the destination is asked after sending, and only then has it confirmed anything."""
    return way_of(endpoint) != "none"
