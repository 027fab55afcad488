"""A network of institutions on a running stack, for end-to-end tests.

Every test has institutions of its own, so that tests share one stack and none depends on another.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import yaml

from imex.local.ports import free_ports
from imex.testing.peers import StoreScp
from imex.testing.stack import LocalStack, wait_until

Json = dict[str, Any]


@dataclass
class Institution:
    """One institution of a test."""

    code: str
    entry: Json
    port: int

    @property
    def ae_title(self) -> str:
        """It sends and receives under one AE title."""
        return f"{self.code}_PACS"


@dataclass
class Network:
    """The directory of a stack as tests extend it, and the API as its administrator sees it."""

    stack: LocalStack
    folder: Path
    directory: Json = field(
        default_factory=lambda: {"institutions": [], "groups": [], "agreements": [], "rules": []}
    )

    @property
    def dicom_port(self) -> int:
        """Where Imex listens."""
        return int(self.stack.described["dicom"]["port"])

    def institution(self, *, endpoint: bool = True, sender: bool = True) -> Institution:
        """A new institution, not applied yet."""
        code = f"E{uuid4().hex[:6].upper()}"
        (port,) = free_ports(1)
        made = Institution(code, {"code": code, "name": f"Hospital {code}", "kind": "nhs"}, port)
        if sender:
            made.entry["senders"] = [{"ae_title": made.ae_title}]
        if endpoint:
            made.entry["endpoints"] = [
                {
                    "name": "pacs",
                    "type": "dicom",
                    "ae_title": made.ae_title,
                    "host": "127.0.0.1",
                    "port": port,
                }
            ]
        self.directory["institutions"].append(made.entry)
        return made

    def agreement(self, source: Institution, recipient: Institution, **changes: Any) -> str:
        """Let one send to the other for direct care."""
        name = f"a-{uuid4().hex[:8]}"
        self.directory["agreements"].append(
            {
                "id": name,
                "from": source.code,
                "to": recipient.code,
                "purposes": ["direct-care"],
                "legal_basis": "UK GDPR 6(1)(e), 9(2)(h)",
                "valid_from": "2026-01-01",
                "valid_until": "2036-01-01",
                **changes,
            }
        )
        return name

    def rule(self, source: Institution, *recipients: Institution, **changes: Any) -> str:
        """Send every CT of one to others."""
        name = f"r-{uuid4().hex[:8]}"
        self.directory["rules"].append(
            {
                "id": name,
                "match": {"source": source.code, "modality": "CT"},
                "to": [each.code for each in recipients],
                "purpose": "direct-care",
                "priority": "routine",
                "quiet_s": 1,
                **changes,
            }
        )
        return name

    def apply(self) -> None:
        """Put the directory in force, as an administrator would."""
        done = self.apply_text(yaml.safe_dump(self.directory))
        assert done.returncode == 0, done.stderr

    def apply_text(self, text: str) -> subprocess.CompletedProcess[str]:
        """`imex directory apply -` with a file of one's own."""
        file = self.folder / f"directory-{uuid4().hex[:8]}.yaml"
        file.write_text(text)
        return self.stack.imex("directory", "apply", str(file))

    def pair(self, **rule: Any) -> tuple[Institution, Institution]:
        """Two institutions, the first of which sends its CTs to the second; in force."""
        source, recipient = self.institution(), self.institution()
        self.agreement(source, recipient)
        self.rule(source, recipient, **rule)
        self.apply()
        return source, recipient

    def receiver(self, institution: Institution) -> StoreScp:
        """A `storescp` at an institution's endpoint, not started yet."""
        return StoreScp(institution.ae_title, institution.port, self.folder / institution.code)

    def files(self, study: Any) -> list[Path]:
        """A synthetic study as files."""
        return list(study.write(self.folder / f"study-{uuid4().hex[:8]}"))

    def get(self, path: str, *, token: str = "admin", **params: Any) -> Any:
        """GET below /api/v1 with the token of `stack.json`."""
        described = self.stack.described
        answer = httpx2.get(
            described["api"] + path,
            params=params,
            headers={"Authorization": f"Bearer {described['tokens'][token]}"},
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def post(self, path: str, body: Json | None = None, *, token: str = "admin") -> httpx2.Response:
        """POST below /api/v1 with the token of `stack.json`."""
        described = self.stack.described
        return httpx2.post(
            described["api"] + path,
            json=body,
            headers={"Authorization": f"Bearer {described['tokens'][token]}"},
            timeout=30,
            trust_env=False,
        )

    def shares(self, study_uid: str) -> list[Json]:
        """The shares of a study."""
        found: list[Json] = self.get("/shares", study_uid=study_uid)["items"]
        return found

    def wait_share(
        self, study_uid: str, state: str, within_s: float = 60.0, recipient: str | None = None
    ) -> Json:
        """The share of a study once it is in a state."""
        found: Json = self.wait_for(
            lambda: next(
                (
                    share
                    for share in self.shares(study_uid)
                    if share["state"] == state and recipient in (None, share["recipient"])
                ),
                None,
            ),
            within_s,
            f"a share of the study is {state}",
            lambda: json.dumps([(s["recipient"], s["state"], s["reason"]) for s in self.shares(study_uid)]),
        )
        return found

    def steps(self, share: Json) -> list[str]:
        """The step words of a share's timeline."""
        return [row["step"] for row in self.get(f"/shares/{share['id']}/timeline")["items"]]

    def wait_for(
        self,
        found: Callable[[], Any],
        within_s: float,
        what: str,
        otherwise: Callable[[], str] = lambda: "",
    ) -> Any:
        """Poll until something is found."""
        deadline = time.monotonic() + within_s
        while True:
            value = found()
            if value:
                return value
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what} {otherwise()}"
            time.sleep(0.1)


def reconciled(network: Network, within_s: float = 60.0) -> Mapping[str, Any]:
    """`imex reconcile --json` once it balances."""
    last: list[str] = []

    def balances() -> bool:
        done = network.stack.imex("reconcile", "--json")
        last[:] = [done.stdout + done.stderr]
        return done.returncode == 0

    try:
        wait_until(balances, within_s, "reconcile balances")
    except AssertionError as error:
        raise AssertionError(f"{error}: {last[0][-2000:]}") from None
    found: Mapping[str, Any] = json.loads(last[0])
    return found
