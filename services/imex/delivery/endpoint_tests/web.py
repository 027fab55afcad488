"""A DICOMweb server: an access token, QIDO-RS, and a study of nobody by STOW-RS there and back."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from imex.delivery.endpoint_tests.dicom import FOUND_WITHIN_S, IMAGES, SIDE, found_words, sent_words
from imex.delivery.endpoint_tests.steps import Finding, failed, ok, skipped, warning
from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.dicomweb.responses import read_response, referenced
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Web
from imex.dicom.specimen import Specimen, specimen
from imex.dimse.statuses import words
from imex.directory.model import DicomwebEndpoint

JSON: Final = "application/dicom+json"
_PORTS: Final = {"http": 80, "https": 443}
_SOP_INSTANCE_UID: Final = "00080018"
_NO_QUERIES: Final = frozenset({404, 405, 501})


@dataclass(slots=True)
class Server:
    """One server that is being looked at."""

    endpoint: DicomwebEndpoint
    web: Web
    tokens: Tokens
    token: str = ""
    sent: Specimen | None = None
    stored: list[str] = field(default_factory=list)
    queries: bool = False

    @property
    def place(self) -> tuple[str, int, bool]:
        """Host, port, and whether it is asked over TLS."""
        parts = urlsplit(self.endpoint.url)
        return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443), parts.scheme == "https"

    async def authorise(self) -> Finding:
        """An access token, where the directory names who gives them."""
        if self.endpoint.oauth2 is None:
            return skipped("the directory names no server for access tokens")
        try:
            self.token = await self.tokens.of(self.endpoint.oauth2)
        except CannotDeliver as error:
            return failed(
                str(error),
                "Check token_url, client_id and scope, and that delivery holds the secret.",
            )
        return ok("the token server gives access tokens")

    async def query(self) -> Finding:
        """QIDO-RS: the server answers at this URL, and lets us in."""
        try:
            answer = await self.web.ask("GET", f"{self.endpoint.url}/studies?limit=1", self._headers())
        except CannotDeliver as error:
            return failed(str(error), "Look at the server's log, and whether the URL is the services' base.")
        if answer.status in {401, 403}:
            return failed(
                f"the server refuses access ({answer.status})",
                "Give Imex the right to search and store, or name an OAuth 2.0 server in the directory.",
            )
        if answer.status in _NO_QUERIES:
            told = f"searching is answered {answer.status}: there is no QIDO-RS at this URL"
            return warning(told, "Check the URL; a server that only stores cannot be asked what it holds.")
        if answer.status not in {200, 204}:
            told = f"searching is answered {answer.status}"
            return failed(told, "Look at the server's log for the reason.", ends=False)
        self.queries = True
        return ok(f"QIDO-RS answers {answer.status}")

    async def store(self) -> Finding:
        """A study of nobody by STOW-RS."""
        self.sent = await asyncio.to_thread(partial(specimen, IMAGES, side=SIDE))
        boundary = f"imex-{secrets.token_hex(16)}"
        body = b"".join(
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one.file() + b"\r\n"
            for one in self.sent.instances
        )
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {**self._headers(), "Content-Type": kind}
        begun = time.monotonic()
        try:
            answer = await self.web.ask(
                "POST", f"{self.endpoint.url}/studies", headers, body + f"--{boundary}--\r\n".encode()
            )
        except CannotDeliver as error:
            return failed(f"STOW-RS: {error}", "Look at the server's log for this request.")
        took = time.monotonic() - begun
        listed = read_response(answer.body)
        named = listed.stored if listed else {}
        self.stored = [one.sop_instance_uid for one in self.sent.instances if one.sop_instance_uid in named]
        if len(self.stored) == len(self.sent.instances):
            return sent_words(self.sent, took)
        advice = "Look at the server's log for the reason: room, rights, or what it asks of a data set."
        if listed is not None and listed.failed:
            reason = next(iter(listed.failed.values()))
            why = words(reason) if reason else "no reason is told"
            return failed(f"STOW-RS is answered {answer.status}; {len(listed.failed)} failed: {why}", advice)
        if answer.status in {200, 202}:
            told = f"STOW-RS is answered {answer.status} without naming what was stored"
            self.stored = [one.sop_instance_uid for one in self.sent.instances]
            return warning(told, "Each delivery has to ask for what it sent: set confirm: query.")
        return failed(f"STOW-RS is answered {answer.status}", advice)

    async def find(self) -> Finding:
        """The study again, by QIDO-RS."""
        if not self.stored or self.sent is None:
            return skipped("nothing was sent that could be found")
        if not self.queries:
            return skipped("the server cannot be searched")
        end = time.monotonic() + FOUND_WITHIN_S
        while True:
            try:
                found = await self._held(self.sent.study_uid)
            except (CannotDeliver, ValueError) as error:
                return warning(f"it could not be searched for: {error}", "Look at the server's log.")
            missing = [one for one in self.stored if one not in found]
            if not missing or time.monotonic() > end:
                return found_words(len(self.stored) - len(missing), len(self.stored))
            await asyncio.sleep(1.0)

    async def _held(self, study_uid: str) -> set[str]:
        url = f"{self.endpoint.url}/instances?StudyInstanceUID={study_uid}"
        answer = await self.web.ask("GET", url, self._headers())
        if answer.status == 204:
            return set()
        if answer.status != 200:
            raise ValueError(f"the server answers {answer.status}")
        try:
            return set(referenced(answer.body, _SOP_INSTANCE_UID))
        except (ValueError, TypeError):
            raise ValueError("the answer is no DICOM JSON") from None

    def _headers(self) -> Mapping[str, str]:
        headers = {"Accept": JSON}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers
