"""Access tokens: one question for all who wait, kept until shortly before they expire, refused in words."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imex.delivery.targets import CannotDeliver
from imex.delivery.targets.dicomweb.tokens import Tokens
from imex.delivery.targets.dicomweb.web import Answered, Web
from imex.directory.policies import ClientCredentials

SECRET = "s3cr:t%/ü"
ASKED = ClientCredentials(token_url="https://auth.example/token", client_id="imex", secret="rt3")


class Endpoint(Web):
    """A token endpoint that answers as it is told."""

    def __init__(self, *answers: Any, status: int = 200) -> None:
        super().__init__()
        self.answers = list(answers)
        self.status = status
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[Mapping[str, str], dict[str, list[str]]]] = []

    async def ask(self, method: str, url: str, headers: Any = None, body: Any = None) -> Answered:
        """One of the answers; the last one again and again."""
        assert (method, url) == ("POST", ASKED.token_url)
        self.asked.append((headers, parse_qs(body.decode())))
        await asyncio.sleep(0)
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(told, Exception):
            raise told
        content = told if isinstance(told, bytes) else json.dumps(told).encode()
        return Answered(self.status, self.headers, content)


def granted(token: str, seconds: Any = 3600) -> dict[str, Any]:
    return {"access_token": token, "token_type": "Bearer", "expires_in": seconds}


def tokens(endpoint: Endpoint) -> Tokens:
    return Tokens(endpoint, {"rt3": SECRET}.get)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loop's time, which a test moves."""
    now = [1000.0]
    monkeypatch.setattr("imex.delivery.targets.dicomweb.tokens.asyncio.get_running_loop", lambda: Clock(now))
    return now


class Clock:
    def __init__(self, now: list[float]) -> None:
        self._now = now

    def time(self) -> float:
        """Seconds."""
        return self._now[0]


@pytest.mark.parametrize(
    ("told", "kept_for"),
    [(3600, 3570), (60, 30), (40, 20), (None, 270), ("soon", 270), (True, 270), (-5, 270), (10**9, 86_370)],
)
async def test_a_token_is_renewed_before_it_expires(told: Any, kept_for: float, clock: list[float]) -> None:
    endpoint = Endpoint(granted("one", told), granted("two"))
    held = tokens(endpoint)
    assert await held.of(ASKED) == "one"
    clock[0] += kept_for - 0.1
    assert await held.of(ASKED) == "one"
    clock[0] += 0.2
    assert await held.of(ASKED) == "two"


async def test_one_question_is_for_all_who_wait() -> None:
    endpoint = Endpoint(granted("one"))
    held = tokens(endpoint)
    assert set(await asyncio.gather(*(held.of(ASKED) for _ in range(20)))) == {"one"}
    assert len(endpoint.asked) == 1


async def test_a_refused_token_is_forgotten_once() -> None:
    endpoint = Endpoint(granted("one"), granted("two"), granted("three"))
    held = tokens(endpoint)
    assert await held.of(ASKED) == "one"
    held.forget(ASKED, "one")
    assert await held.of(ASKED) == "two"
    held.forget(ASKED, "one")  # a late answer about the former one
    assert await held.of(ASKED) == "two"


async def test_the_secret_goes_where_the_directory_says() -> None:
    endpoint = Endpoint(granted("one"))
    await tokens(endpoint).of(ASKED.model_copy(update={"scope": "dicom store"}))
    await tokens(endpoint).of(ASKED.model_copy(update={"client_authentication": "post"}))
    (basic, form), (post, posted) = endpoint.asked
    told = base64.b64decode(basic["Authorization"].removeprefix("Basic ")).decode()
    assert told == "imex:s3cr%3At%25%2F%C3%BC"  # RFC 6749 2.3.1
    assert form == {"grant_type": ["client_credentials"], "scope": ["dicom store"]}
    assert "Authorization" not in post
    assert (posted["client_id"], posted["client_secret"]) == (["imex"], [SECRET])


@pytest.mark.parametrize(
    ("status", "told", "words", "lasting"),
    [
        (401, {"error": "invalid_client"}, "answered 401 (invalid_client)", True),
        (400, {"error": "invalid_scope"}, "answered 400 (invalid_scope)", True),
        (400, {"error": f"the secret {SECRET} is wrong"}, "answered 400", True),
        (400, {"error": ["x"]}, "answered 400", True),
        (403, b"<html>", "answered 403", True),
        (404, b"", "answered 404", True),
        (302, b"", "answered 302", False),
        (429, {}, "answered 429", False),
        (500, b"[" * 100_000, "answered 500", False),
        (200, {}, "answered without one", True),
        (200, b"no json", "answered without one", True),
        (200, ["x"], "answered without one", True),
        (200, granted(""), "answered without one", True),
        (200, granted("a\r\nX-Injected: 1"), "answered without one", True),
        (200, granted("a" * 20_000), "answered without one", True),
        (200, {"access_token": 7}, "answered without one", True),
        (200, {"access_token": "t", "token_type": "mac"}, "gives no bearer tokens", True),
    ],
)
async def test_a_refusal_is_told_without_secrets(status: int, told: Any, words: str, lasting: bool) -> None:
    endpoint = Endpoint(told, status=status)
    endpoint.headers = {"Retry-After": "9"}
    with pytest.raises(CannotDeliver) as raised:
        await tokens(endpoint).of(ASKED)
    assert words in str(raised.value)
    assert SECRET not in str(raised.value)
    assert raised.value.lasting is lasting
    assert raised.value.again_after == (9.0 if status != 200 else 0.0)
    with pytest.raises(CannotDeliver):
        await tokens(endpoint).of(ASKED)


@given(
    st.dictionaries(st.sampled_from(["access_token", "token_type", "expires_in"]), st.text() | st.floats())
)
def test_no_answer_makes_a_header_that_is_none(told: dict[str, Any]) -> None:
    try:
        token = asyncio.run(tokens(Endpoint(told)).of(ASKED))
    except CannotDeliver:
        return
    assert token
    assert all("!" <= character <= "~" for character in token)


async def test_an_endpoint_that_is_away_says_so() -> None:
    endpoint = Endpoint(CannotDeliver("auth.example: connection refused"), granted("one"))
    held = tokens(endpoint)
    with pytest.raises(CannotDeliver, match=r"no access token: auth\.example: connection refused"):
        await held.of(ASKED)
    assert await held.of(ASKED) == "one"


async def test_a_secret_that_is_not_there_is_named_and_nobody_is_asked() -> None:
    endpoint = Endpoint(granted("one"))
    with pytest.raises(CannotDeliver, match="no secret named rt3: set it in IMEX_DELIVERY_SECRETS") as raised:
        await Tokens(endpoint, lambda _: None).of(ASKED)
    assert raised.value.lasting
    assert not endpoint.asked
