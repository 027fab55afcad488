"""Asking a DICOMweb server what it has: QIDO-RS (PS3.18 section 10.6)."""

from typing import Final

from imex.delivery.confirming.asking import CannotAsk
from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.dicomweb.responses import referenced
from imex.delivery.targets.dicomweb.target import JSON
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Answered, Web
from imex.directory.model import DicomwebEndpoint, Endpoint

_PAGE: Final = 1000
_MOST_PAGES: Final = 1000


class DicomwebAsker:
    """Searches for instances of a study, page by page."""

    def __init__(self, web: Web, tokens: Tokens) -> None:
        """Nothing is asked yet."""
        self._web = web
        self._tokens = tokens

    async def held(self, endpoint: Endpoint, study_uid: str, wanted: frozenset[str]) -> set[str]:
        """See `imex.delivery.confirming.asking.Asker`."""
        if not isinstance(endpoint, DicomwebEndpoint):
            raise CannotAsk(f"endpoint {endpoint.name} is no DICOMweb server")
        held: set[str] = set()
        seen = 0
        for _ in range(_MOST_PAGES):
            page = await self._page(endpoint, study_uid, seen)
            new = page - held
            held |= page
            seen += len(page)
            # a server with a limit of its own gives shorter pages, and one without offsets the same again
            if not new or wanted <= held:
                break
        return held & wanted

    async def _page(self, endpoint: DicomwebEndpoint, study_uid: str, offset: int) -> set[str]:
        query = f"includefield=00080018&limit={_PAGE}&offset={offset}"
        answered = await self._get(endpoint, f"studies/{study_uid}/instances?{query}")
        if answered.status == 400 and not offset:
            answered = await self._get(endpoint, f"studies/{study_uid}/instances")
        if answered.status == 404:  # no such study, or nothing that can be asked
            answered = await self._get(endpoint, f"studies?StudyInstanceUID={study_uid}")
            if answered.status == 204 or (answered.status == 200 and not _listed(answered, "0020000D")):
                return set()
            raise CannotAsk("the server does not answer QIDO-RS for the instances of a study (404)")
        if answered.status == 204:
            return set()
        if answered.status != 200:
            raise CannotAsk(f"the server answered {answered.status} to QIDO-RS")
        return _listed(answered, "00080018")

    async def _get(self, endpoint: DicomwebEndpoint, path: str) -> Answered:
        try:
            answered, token = await self._once(endpoint, path)
            if answered.status in {401, 403} and endpoint.oauth2 is not None:
                self._tokens.forget(endpoint.oauth2, token)
                answered, _ = await self._once(endpoint, path)
        except CannotDeliver as error:
            raise CannotAsk(str(error)) from None
        return answered

    async def _once(self, endpoint: DicomwebEndpoint, path: str) -> tuple[Answered, str]:
        token = await self._tokens.of(endpoint.oauth2) if endpoint.oauth2 is not None else ""
        headers = {"Accept": JSON, **({"Authorization": f"Bearer {token}"} if token else {})}
        return await self._web.ask("GET", f"{endpoint.url}/{path}", headers), token


def _listed(answered: Answered, tag: str) -> set[str]:
    try:
        return set(referenced(answered.body, tag))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise CannotAsk("the server answered QIDO-RS with something else than DICOM JSON") from None
