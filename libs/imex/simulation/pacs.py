"""A simulated PACS, started and stopped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from imex.simulation.dicom_node import DicomNode
from imex.simulation.failures import named
from imex.simulation.misbehaviour import Misbehaviour
from imex.simulation.options import Options
from imex.simulation.report_api import ReportApi
from imex.simulation.shelf import Shelf
from imex.simulation.web_node import WebNode


@dataclass(frozen=True, slots=True)
class SimulatedPacs:
    """One that runs."""

    options: Options
    port: int
    api_port: int | None
    shelf: Shelf
    misbehaviour: Misbehaviour

    @property
    def url(self) -> str:
        """The base of its DICOMweb services."""
        scheme = "http" if self.options.tls is None else "https"
        return f"{scheme}://{self.options.host}:{self.port}{self.options.base}"

    def behave(self, *names: str, after: int = 0, times: int | None = None) -> None:
        """Misbehave so from now on; well without names. Raises UnknownFailure."""
        self.misbehaviour.tell(named(names, self.options.type), after=after, times=times)


@asynccontextmanager
async def simulated_pacs(
    *names: str,
    after: int = 0,
    times: int | None = None,
    options: Options | None = None,
) -> AsyncIterator[SimulatedPacs]:
    """A PACS that listens while the block runs, with the failures of these names.

    Raises:
        UnknownFailure: there is none of a name.
        OSError: a port cannot be listened on.
    """
    options = options or Options()
    misbehaviour = Misbehaviour(named(names, options.type), after=after, times=times)
    shelf = Shelf(options.store)
    node = (DicomNode if options.type == "dicom" else WebNode)(options, misbehaviour, shelf)
    api = ReportApi(options, misbehaviour, shelf) if options.api_port is not None else None
    try:
        port = await node.start()
        api_port = await api.start() if api is not None else None
        yield SimulatedPacs(options, port, api_port, shelf, misbehaviour)
    finally:
        await node.close()
        if api is not None:
            await api.close()
