"""`make demo`: a study from hospital A to hospital B, and the proof that all of it arrived."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2

from imex.local import hospital, layout
from imex.local.demo_times import where_the_time_went
from imex.local.home import Home
from imex.local.parties import ensure_running
from imex.local.programs import dcmtk
from imex.testing.dicom import SyntheticStudy, synthetic_study

SLICES = 120
_WITHIN_S = 120.0
_POLL_S = 0.25
_SENDER = "RQM_PACS"
_ENDED = {"delivered", "partial", "refused", "failed", "cancelled", "revoked", "expired"}

Say = Callable[[str], None]


class DemoFailed(RuntimeError):
    """The study did not arrive; the text says how far it came."""


def run(home: Home, say: Say) -> int:
    """Send a new study, follow its share, compare what hospital B holds.

    0 when hospital B holds every instance with the digests that hospital A sent, else 1.
    """
    at = home.ports()
    pacs = hospital.receiver(home.data, home.log(hospital.NAME), at["hospital_b"], at["hospital_b_http"])
    ensure_running(home, pacs.launch)
    say(f"hospital B is ready: {pacs.product}, {hospital.AE_TITLE} on port {at['hospital_b']}")
    study = synthetic_study(SLICES)
    print(
        f"\nA CT study of {SLICES} slices, from hospital A (RQM) to hospital B (RT3)\n  {study.study_uid}\n"
    )
    try:
        print(f"  sent over DICOM by {_send(home, study)}\n")
        share = _follow(home, study.study_uid)
        if share["state"] != "delivered":
            raise DemoFailed(f"the share is {share['state']}: {share['reason']}")
        for line in where_the_time_went(layout.describe(home)["traces"], _steps(home, share), share):
            print(f"  {line}")
        _verify(pacs, study)
    except DemoFailed as problem:
        print(f"\nfailed: {problem}\nlogs: {home.root / 'logs'}")
        return 1
    _tell(home, share)
    return 0


def _send(home: Home, study: SyntheticStudy) -> str:
    """Send as hospital A; gives back what sent it. Raises `DemoFailed` unless every instance was taken."""
    target = layout.describe(home)["dicom"]
    program = dcmtk("dcmsend")
    if program is None:
        raise DemoFailed("dcmsend is not installed; run: apt-get install -y dcmtk")
    with tempfile.TemporaryDirectory() as scratch:
        study.write(Path(scratch))
        began = time.monotonic()
        names = ("-aet", _SENDER, "-aec", target["ae_title"])
        where = (target["host"], str(target["port"]))
        argv = [program, "-q", *names, *where, "--scan-directories", scratch]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise DemoFailed(f"dcmsend was refused: {result.stderr.strip()[-300:]}")
        return f"DCMTK's dcmsend, acknowledged in {time.monotonic() - began:.1f} s"


def _follow(home: Home, study_uid: str) -> Mapping[str, Any]:
    """Print the timeline as it grows until the share has ended; gives back the share."""
    printed = 0
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        try:
            found = _get(home, "/shares", study_uid=study_uid)["items"]
        except httpx2.TransportError:
            found = []  # the portal is just being started again
        if found:
            share: Mapping[str, Any] = found[0]
            steps = _steps(home, share)
            for step in steps[printed:]:
                print(f"  {_line(step)}", flush=True)
            printed = len(steps)
            if share["state"] in _ENDED:
                return share
        time.sleep(_POLL_S)
    raise DemoFailed(f"not delivered within {_WITHIN_S:.0f} s")


def _steps(home: Home, share: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return list(_pages(home, f"/shares/{share['id']}/timeline"))


def _pages(home: Home, path: str) -> Iterator[Mapping[str, Any]]:
    after: dict[str, str] = {}
    while True:
        page = _get(home, path, **after)
        yield from page["items"]
        if not page["next"]:
            return
        after = {"after": page["next"]}


def _get(home: Home, path: str, **query: str) -> Any:
    response = httpx2.get(
        layout.describe(home)["api"] + path,
        params=query,
        headers={"Authorization": f"Bearer {home.secrets().admin_token}"},
        timeout=10.0,
    )
    return response.raise_for_status().json()


def _line(step: Mapping[str, Any]) -> str:
    at = datetime.fromisoformat(step["at"]).astimezone()
    why = f"  {step['reason']}" if step.get("reason") else ""
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}  {step['step']:<20} {step['actor']}{why}"


def _verify(pacs: hospital.Receiver, study: SyntheticStudy) -> None:
    """Compare what was sent with what hospital B keeps; raises `DemoFailed` when anything differs."""
    held = pacs.held(study.study_uid)
    missing = study.digests.keys() - held.keys()
    changed = [uid for uid, digest in study.digests.items() if uid in held and held[uid] != digest]
    if missing or changed:
        raise DemoFailed(f"hospital B lacks {len(missing)} instances and holds {len(changed)} changed")
    print(f"\n  verified: {pacs.product} at hospital B holds all {len(held)} data sets, digests identical")


def _tell(home: Home, share: Mapping[str, Any]) -> None:
    stack = layout.describe(home)
    print(f"\n  portal  {stack['portal']}   sign in as admin, password in {home.stack_file}")
    print(f"  share   .venv/bin/imex show {share['id']}")
    print(f"  trace   {stack['traces']}/zipkin/traces/{share['trace_id']}")
    print("  the stack is left running; stop it with: make down")
