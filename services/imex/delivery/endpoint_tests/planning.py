"""Which steps a test of an endpoint has."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from imex.delivery.endpoint_tests.dicom import Node
from imex.delivery.endpoint_tests.network import TlsFiles, Way
from imex.delivery.endpoint_tests.querying import queried
from imex.delivery.endpoint_tests.steps import Finding, Planned, ok, warning
from imex.delivery.endpoint_tests.web import Server
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Web, WebLimits
from imex.directory import DirectoryIndex
from imex.directory.index import is_open
from imex.directory.model import DicomEndpoint, DicomwebEndpoint, Endpoint
from imex.outbound import Outbound

_LIMITS: Final = WebLimits(connect_s=10.0, stalled_s=15.0, response_s=30.0)


@dataclass(frozen=True, slots=True)
class Means:
    """What tests are made with."""

    calling_ae: str
    tls: TlsFiles = field(default_factory=TlsFiles)
    secrets: Callable[[str], str | None] = lambda _: None
    """Of OAuth 2.0 clients, by name."""
    outbound: Outbound = field(default_factory=Outbound)
    """Where may be connected to."""


class NoSuchEndpoint(Exception):
    """The directory in force has no endpoint of this name; the words say so."""


def endpoint_of(directory: DirectoryIndex | None, code: str, name: str) -> Endpoint:
    """The endpoint to test.

    Raises:
        NoSuchEndpoint: there is none.
    """
    found = directory.endpoint_for(code, name) if directory is not None else None
    if found is None:
        raise NoSuchEndpoint(f"the directory in force has no endpoint {code}/{name}")
    return found


@asynccontextmanager
async def planned(endpoint: Endpoint, means: Means, *, send: bool) -> AsyncIterator[Sequence[Planned]]:
    """The steps, in order; what they open is closed when the block ends."""
    entry = Planned("directory entry", 1.0, _looked_up(endpoint))
    if isinstance(endpoint, DicomEndpoint):
        tls = means.tls if endpoint.tls else None
        node = Node(endpoint, means.calling_ae, tls.context if tls else None, means.outbound)
        way = Way(endpoint.host, endpoint.port, tls, means.outbound)
        steps = [
            entry,
            *_network(way),
            Planned("association", 25.0, node.associate),
            Planned("echo", 30.0, node.echo),
            Planned("accepted", 5.0, node.contexts),
        ]
        if send:
            steps += [Planned("test study", 40.0, node.store), Planned("found again", 30.0, node.find)]
        if endpoint.query:
            steps.append(Planned("queries", 35.0, _queried(endpoint, node, means)))
        try:
            yield steps
        finally:
            await node.close()
        return
    if isinstance(endpoint, DicomwebEndpoint):
        # names are checked: a server that is called by a URL has one
        files = replace(means.tls, check_host=True)
        web = Web(files.context if files.ca is not None else None, _LIMITS, means.outbound)
        server = Server(endpoint, web, Tokens(web, means.secrets))
        host, port, secure = server.place
        steps = [
            entry,
            *_network(Way(host, port, files if secure else None, means.outbound)),
            Planned("access token", 15.0, server.authorise),
            Planned("search", 20.0, server.query),
        ]
        if send:
            steps += [Planned("test study", 40.0, server.store), Planned("found again", 30.0, server.find)]
        try:
            yield steps
        finally:
            await web.close()
        return
    yield [entry]


def _queried(endpoint: DicomEndpoint, node: Node, means: Means) -> Callable[[], Awaitable[Finding]]:
    async def look() -> Finding:
        await node.close()  # a node may take one association at a time
        return await queried(
            endpoint, means.calling_ae, means.tls.context if endpoint.tls else None, means.outbound
        )

    return look


def _network(way: Way) -> list[Planned]:
    return [
        Planned("name resolution", 5.0, way.resolve),
        Planned("connection", 10.0, way.connect),
        Planned("TLS", 10.0, way.handshake),
        Planned("certificate", 10.0, way.vouched),
    ]


def _looked_up(endpoint: Endpoint) -> Callable[[], Awaitable[Finding]]:
    async def look() -> Finding:
        facts = endpoint.model_dump(mode="json", exclude_defaults=True, exclude={"identity", "oauth2"})
        if not is_open(endpoint, datetime.now(UTC)):
            return warning(
                f"by its hours, {endpoint.accepts.hours}, nothing routine is sent there now",
                "Nothing to do: it is tested all the same.",
                entry=facts,
            )
        if endpoint.type == "inbox":
            return ok("an inbox is Imex's own: there is no way to it that could fail", entry=facts)
        return ok(f"of type {endpoint.type}", entry=facts)

    return look
