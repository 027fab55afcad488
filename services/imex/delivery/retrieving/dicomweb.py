"""Archives that are DICOMweb servers: QIDO-RS, and WADO-RS into ingest (PS3.18 sections 10.6 and 10.4).

A study's body is handed on to ingest as it comes: nothing of it is kept here.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from imex.delivery.retrieving.archive import MOST_ANSWERS, Away, Fetched, Meant, NotDone
from imex.delivery.retrieving.matching import Answer, Within
from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Answered, StreamBroke, Streamed, Web
from imex.dicomweb.door import BodyBroke, Door, NotTaken
from imex.dicomweb.media import DICOM, DICOM_JSON, RELATED, media_type
from imex.dicomweb.outcome import OUT_OF_RESOURCES, StowOutcome
from imex.dicomweb.statement import Statement
from imex.directory.model import DicomwebEndpoint, Endpoint
from imex.events import Priority

_PAGE: Final = 200
WHOLE_SEARCH_S: Final = 300.0
"""For all pages of all questions about a request: a server may give one study a page, and take its time."""
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 section 5.1.1."""
_DICOM_FILES: Final = f'{RELATED}; type="{DICOM}"; transfer-syntax=*'
_MAY_PASS: Final = frozenset({408, 425, 429})
_FIELDS: Final = {
    "study_uid": "0020000D",
    "patient_id": "00100020",
    "issuer": "00100021",
    "accession": "00080050",
    "day": "00080020",
    "time": "00080030",
}
_MODALITIES: Final = "00080061"
_INSTANCES: Final = "00201208"
SENT_BY: Final = "retrieval"
"""What the audit record names in the place of a sender's token."""


class DicomwebArchive:
    """See `imex.delivery.retrieving.archive.Archive`."""

    def __init__(
        self, web: Web, tokens: Tokens, door: Door | None, whole_search_s: float = WHOLE_SEARCH_S
    ) -> None:
        """`door` leads to ingest; without one nothing can be fetched."""
        self._web = web
        self._whole_search_s = whole_search_s
        self._tokens = tokens
        self._door = door

    async def ask(
        self, endpoint: Endpoint, keys: Iterable[tuple[str, str]], within: Within, meant: Meant
    ) -> list[Answer]:
        """See the protocol."""
        server = _server(endpoint)
        if self._door is None:
            raise NotDone("what it has cannot be fetched: IMEX_STOW_URL is not set for delivery")
        found: list[Answer] = []
        try:
            async with asyncio.timeout(self._whole_search_s) as bound:
                for key in keys:
                    found += await self._asked(server, _query(key, within), meant)
        except TimeoutError:
            if not bound.expired():
                raise
            raise NotDone(f"its answers to QIDO-RS did not end within {self._whole_search_s:.0f} s") from None
        return found

    async def _asked(self, server: DicomwebEndpoint, query: dict[str, str], meant: Meant) -> list[Answer]:
        found: list[Answer] = []
        seen: set[str] = set()
        while True:
            url = f"{server.url}/studies?{urlencode({**query, 'limit': _PAGE, 'offset': len(seen)})}"
            page = await self._page(server, url)
            new = {one.study_uid for one in page} - seen
            found += [one for one in page if one.study_uid in new and meant(one)]
            seen |= new
            # a server with a limit of its own gives shorter pages, and one without offsets the same again
            if not new:
                return found
            if len(seen) > MOST_ANSWERS:
                raise NotDone("its answers to QIDO-RS do not end: it does not narrow them")

    async def _page(self, server: DicomwebEndpoint, url: str) -> list[Answer]:
        try:
            answered, token = await self._once(server, url)
            if answered.status in {401, 403} and server.oauth2 is not None:
                self._tokens.forget(server.oauth2, token)
                answered, _ = await self._once(server, url)
        except CannotDeliver as error:
            raise _cannot(error) from None
        if answered.status == 204:
            return []
        if answered.status != 200:
            raise _trouble(answered, "QIDO-RS")
        return _answers(answered.body)

    async def _once(self, server: DicomwebEndpoint, url: str) -> tuple[Answered, str]:
        token = await self._token(server)
        headers = {"Accept": DICOM_JSON, **_bearer(token)}
        return await self._web.ask("GET", url, headers), token

    async def _token(self, server: DicomwebEndpoint) -> str:
        return await self._tokens.of(server.oauth2) if server.oauth2 is not None else ""

    async def fetch(self, endpoint: Endpoint, study_uid: str, holder: str, priority: Priority) -> Fetched:
        """See the protocol."""
        server = _server(endpoint)
        if self._door is None:
            raise NotDone("IMEX_STOW_URL is not set for delivery")
        try:
            async with self._retrieved(server, study_uid) as response:
                kind = _kind(response.head.headers.get("Content-Type", ""))
                statement = Statement(holder, SENT_BY, study_uid, kind, retrieved=True)
                host = urlsplit(server.url).hostname or ""
                return _fetched(await self._door.store(statement, host, response.pieces()))
        except CannotDeliver as error:
            raise _cannot(error) from None
        except BodyBroke as error:
            words = str(error.__cause__) if isinstance(error.__cause__, StreamBroke) else "its body broke off"
            raise Away(words, of_study=True) from None
        except NotTaken as error:
            raise _not_taken(error) from None

    @asynccontextmanager
    async def _retrieved(self, server: DicomwebEndpoint, study_uid: str) -> AsyncIterator[Streamed]:
        url = f"{server.url}/studies/{study_uid}"
        token = await self._token(server)
        async with self._web.streamed(url, {"Accept": _DICOM_FILES, **_bearer(token)}) as response:
            if response.head.status == 200:
                yield response
                return
            if response.head.status in {401, 403} and server.oauth2 is not None:
                self._tokens.forget(server.oauth2, token)
                raise Away(f"it refused the access token ({response.head.status})", of_study=True)
            raise _trouble(response.head, "WADO-RS")


def _query(key: tuple[str, str], within: Within) -> dict[str, str]:
    """The issuer is asked for and not narrowed by, as in C-FIND."""
    keyword, value = key
    query = {keyword: value}
    if within.days:
        query["StudyDate"] = within.days
    if within.modality:
        query["ModalitiesInStudy"] = within.modality
    return {**query, "includefield": ",".join([*_FIELDS.values(), _MODALITIES, _INSTANCES])}


def _answers(body: bytes) -> list[Answer]:
    """Studies in DICOM JSON (PS3.18 annex F); one that cannot be read is none."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list):
        raise NotDone("it answers QIDO-RS with something else than DICOM JSON, or with too much of it")
    found = []
    for item in told:
        if not isinstance(item, dict):
            continue
        facts = {name: _text(item, tag) for name, tag in _FIELDS.items()}
        number = _text(item, _INSTANCES)
        found.append(
            Answer(
                **facts,
                modalities=frozenset(_values(item, _MODALITIES)),
                instances=int(number) if number.isascii() and number.isdigit() else None,
            )
        )
    return found


def _values(item: dict[str, Any], tag: str) -> list[str]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return []
    return [str(one)[:1024].strip(" \0") for one in values if isinstance(one, str | int) and one != ""]


def _text(item: dict[str, Any], tag: str) -> str:
    return next(iter(_values(item, tag)), "")


def _kind(content_type: str) -> str:
    """The body's media type, as it is stated to ingest: nothing of the server's own words goes on."""
    kind = media_type(content_type)
    if kind.name == DICOM:
        return DICOM
    boundary = kind.parameters.get("boundary", "")
    if kind.name != RELATED or kind.part not in {"", DICOM} or not _BOUNDARY.fullmatch(boundary):
        raise NotDone("it answers WADO-RS with something else than DICOM files")
    return f'{RELATED}; type="{DICOM}"; boundary="{boundary}"'


def _fetched(outcome: StowOutcome) -> Fetched:
    """What ingest says of the parts, as an archive's counts."""
    failed = outcome.failed
    if failed and any(part.status == OUT_OF_RESOURCES for part in failed):
        raise Away("Imex was out of resources while it sent", of_study=True)
    words = "; ".join(dict.fromkeys(part.words for part in failed if part.words))
    return Fetched(len(outcome.stored), len(failed), words[:200])


def _not_taken(error: NotTaken) -> Away | NotDone:
    words = f"ingest did not take it: {error}"
    return NotDone(words) if error.status in {403, 415} else Away(words, of_study=error.status == 400)


def _cannot(error: CannotDeliver) -> Away | NotDone:
    return NotDone(str(error)) if error.lasting else Away(str(error), error.again_after)


def _trouble(answered: Answered, service: str) -> Away | NotDone:
    words = f"the server answered {answered.status} to {service}"
    if answered.status in _MAY_PASS or answered.status >= 500:
        return Away(words, answered.again_after, of_study=service == "WADO-RS" and answered.status == 500)
    return NotDone(words)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _server(endpoint: Endpoint) -> DicomwebEndpoint:
    if not isinstance(endpoint, DicomwebEndpoint):
        raise NotDone(f"endpoint {endpoint.name} is no DICOMweb server")
    return endpoint
