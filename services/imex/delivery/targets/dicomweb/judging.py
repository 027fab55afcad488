"""What a STOW-RS response means by its status (PS3.18 table 10.5.3-1), of all or of each instance. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from imex.delivery.decide import Answer, Verdict
from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.dicomweb.responses import judge_listed, read_response
from imex.delivery.targets.dicomweb.web import Answered

_ABOUT_ONE: Final = frozenset({400, 409, 413, 415, 422})
"""With several in a request it may be one of them that is meant."""
_ELSEWHERE: Final = frozenset({404, 405, 410, 501})
_WORDS: Final = {
    400: "400 bad request",
    401: "401 unauthorised",
    403: "403 forbidden",
    409: "409 conflict",
    413: "413 content too large",
    415: "415 unsupported media type: it takes no application/dicom, or not in this transfer syntax",
    422: "422 unprocessable content",
    429: "429 too many requests",
    503: "503 service unavailable",
    507: "507 insufficient storage",
}


class Smaller(Exception):
    """The request is to be repeated with fewer instances."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to one instance of a request; `named` says whether the response names it."""

    answer: Answer
    named: bool = True


def judge(answered: Answered, sent: Collection[str]) -> Mapping[str, Sent]:
    """What became of each of `sent`, by SOP Instance UID.

    Only who is named as stored is stored: a status alone may be a proxy's. Of the others nothing is known,
    and they are in doubt.

    Raises:
        Smaller: only for more than one instance.
        CannotDeliver: the request as a whole was not carried out, or nobody knows.
    """
    status = answered.status
    listed = read_response(answered.body)
    if listed and (status in {200, 202} or status in _ABOUT_ONE):
        answers = judge_listed(listed, sent, answered=status)
        if answers or status in {200, 202}:
            return {uid: _named(answers.get(uid), status) for uid in sent}
    if status in {200, 202}:
        if listed is None and answered.body.strip():
            raise CannotDeliver(
                f"the server answered {status} with something else than a STOW-RS response: "
                "is it a DICOMweb server that answers at this URL?",
                in_doubt=True,
            )
        return {uid: _named(None, status) for uid in sent}
    if status in _ABOUT_ONE:
        if len(sent) > 1:
            raise Smaller
        return {uid: Sent(_failed(status)) for uid in sent}
    raise _not_carried_out(answered)


def _named(answer: Answer | None, status: int) -> Sent:
    if answer is not None:
        return Sent(answer)
    told = f"the server answered {status} and did not name the instance"
    return Sent(Answer(Verdict.UNSURE, str(status), told), named=False)


def _failed(status: int) -> Answer:
    return Answer(Verdict.FAILED, str(status), f"refused by the destination: {_words(status)}")


def _not_carried_out(answered: Answered) -> CannotDeliver:
    status, words = answered.status, _words(answered.status)
    if 300 <= status < 400:
        return CannotDeliver(
            f"the server redirects ({status}), which is not followed: put the right URL into the directory",
            lasting=True,
        )
    if status in {401, 403}:
        return CannotDeliver(f"the server refuses access: {words}", lasting=True)
    if status in _ELSEWHERE:
        return CannotDeliver(
            f"the server answered {status}: there is no STOW-RS at this URL (…/studies)", lasting=True
        )
    if status in {429, 503, 507}:
        return CannotDeliver(f"the server answered {words}", again_after=answered.again_after)
    if status in {406, 411}:
        return CannotDeliver(f"the server answered {status} to everything that was tried", lasting=True)
    in_doubt = status >= 500 or status == 408
    return CannotDeliver(f"the server answered {words}", in_doubt=in_doubt, again_after=answered.again_after)


def _words(status: int) -> str:
    if status in _WORDS:
        return _WORDS[status]
    return f"{status} server error" if status >= 500 else str(status)
