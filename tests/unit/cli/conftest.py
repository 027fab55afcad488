"""A stand-in for the API: answers what a test lays down and keeps what was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from imex.cli.main import main


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass
class Answer:
    """What to answer."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Route = Answer | Callable[[Asked], Answer]


@dataclass
class FakeApi:
    """Routes by method and path below ``/api/v1``."""

    base: str
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, method: str, path: str, route: Route) -> None:
        """Lay down an answer."""
        self.routes[method, path] = route

    @staticmethod
    def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
        """An answer to lay down."""
        return Answer(body, status, headers or {})

    def answer(self, asked: Asked) -> Answer:
        """The laid-down answer, else a problem."""
        self.asked.append(asked)
        route = self.routes.get((asked.method, asked.path))
        if route is None:
            return Answer({"title": "Not Found", "status": 404, "detail": "There is no such thing."}, 404)
        return route if isinstance(route, Answer) else route(asked)


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            path = parts.path.removeprefix("/api/v1")
            answer = api.answer(Asked(self.command, path, query, headers, body))
            raw = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(raw)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The API, found by the environment."""
    fake = FakeApi("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.base = f"http://127.0.0.1:{server.server_port}/api/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("IMEX_API", fake.base)
    monkeypatch.setenv("IMEX_TOKEN", "t-admin")
    monkeypatch.setenv("IMEX_HOME", "/nonexistent")
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `imex` with arguments, in this process."""

    def invoke(*arguments: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return invoke
