"""`imex find` and `imex show`: where a study is, and what became of a share."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, Reason, local_time, print_facts, print_json, print_table, size_of

if TYPE_CHECKING:
    from imex.cli.client import Api

_NO_RECEIPT_YET = 404
SHARE_COLUMNS = ("share", "state", "from", "to", "priority", "delivered", "study", "updated", "reason")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("find", help="Studies and shares by study UID, accession number, share id or trace id.")(find)
    app.command("show", help="A share: state, timeline, receipt, trace.")(show)
    app.command("complete", help="Say that nothing more comes of a share's study: the wait ends.")(complete)


def find(
    identifier: Annotated[str, typer.Argument(help="Study UID, accession number, share id or trace id.")],
    as_json: AsJson = False,
) -> None:
    """Studies and shares by one of their numbers."""
    from imex.cli.client import Api

    with Api() as api:
        found = api.get("/find", {"identifier": identifier})
    if as_json:
        print_json(found)
        return
    studies, shares = found.get("studies", []), found.get("shares", [])
    if not studies and not shares:
        print("Nothing was found that this token may see.")
        return
    if studies:
        print_table(
            ("study", "from", "modalities", "received", "quarantined", "size", "trace"),
            (_study_row(study) for study in studies),
            none="",
        )
    print_table(SHARE_COLUMNS, (share_row(share) for share in shares), none="No share of it yet.")


def show(
    share: Annotated[str, typer.Argument(help="Share id, or another number that names one share.")],
    as_json: AsJson = False,
) -> None:
    """State, timeline with each step's time, actor and reason, receipt, and where its trace is."""
    from imex.cli.client import Api

    with Api() as api:
        identifier = _resolve(api, share)
        facts = api.get(f"/shares/{identifier}")
        steps = api.items(f"/shares/{identifier}/timeline")["items"]
        receipt = _receipt(api, identifier)
        trace = _trace_link(api.where.stack, facts)
    if as_json:
        print_json({**facts, "timeline": steps, "receipt": receipt, "trace_url": trace})
        return
    instances = facts.get("instances", {})
    print_facts(
        {
            "share": facts["id"],
            "state": facts["state"],
            "reason": facts.get("reason"),
            "study": facts["study_uid"],
            "from": facts["source"],
            "to": facts["recipient"],
            "purpose": facts.get("purpose"),
            "for": facts.get("clinician"),
            "controllers": ", ".join(facts.get("controllers") or ()),
            "processors": ", ".join(facts.get("processors") or ()),
            "priority": facts.get("priority"),
            "agreement": " — ".join(filter(None, (facts.get("agreement"), facts.get("legal_basis")))),
            "rule": facts.get("rule"),
            "instances": instances,
            "size": size_of(facts.get("bytes")),
            "trace": trace or facts.get("trace_id"),
        }
    )
    print()
    print_timeline(steps)
    if receipt is not None:
        _print_receipt(receipt)


def complete(
    share: Annotated[str, typer.Argument(help="Share id, or another number that names one share.")],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Hand over what is there; what comes later still joins the share."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.post(f"/shares/{_resolve(api, share)}/complete", {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        print(f"{answer['id']}: said to be complete; it is {answer['state']}")


def print_timeline(steps: Sequence[dict[str, Any]]) -> None:
    """Each step with its time and how long after the one before it came."""
    rows = []
    before: datetime | None = None
    for step in steps:
        at = datetime.fromisoformat(step["at"])
        later = f"+{(at - before).total_seconds():.3f} s" if before else ""
        before = at
        rows.append(
            (
                local_time(step["at"]),
                later,
                step["step"],
                step.get("actor"),
                step.get("reason"),
                step.get("details"),
            )
        )
    print_table(("time", "after", "step", "actor", "reason", "details"), rows, none="No step yet.")


def share_row(share: dict[str, Any]) -> tuple[object, ...]:
    """A share as a line of ``SHARE_COLUMNS``."""
    instances = share.get("instances", {})
    total = instances.get("received") or instances.get("expected")
    return (
        share["id"],
        share["state"],
        share["source"],
        share["recipient"],
        share.get("priority"),
        f"{instances.get('delivered', 0)} of {total or '?'}",
        share["study_uid"],
        local_time(share.get("updated_at")),
        share.get("reason"),
    )


def _study_row(study: dict[str, Any]) -> tuple[object, ...]:
    instances = study.get("instances", {})
    return (
        study["study_uid"],
        study["source"],
        study.get("modalities"),
        instances.get("received"),
        instances.get("quarantined"),
        size_of(study.get("bytes")),
        study.get("trace_id"),
    )


def _resolve(api: "Api", identifier: str) -> str:
    try:
        return str(UUID(identifier))
    except ValueError:
        pass
    shares = api.get("/find", {"identifier": identifier}).get("shares", [])
    if not shares:
        raise Failure(f"No share was found for {identifier!r}.", "What came in shows: imex find STUDY_UID")
    if len(shares) > 1:
        lines = [f"  {share['id']}  {share['recipient']}  {share['state']}" for share in shares]
        raise Failure(f"{identifier!r} names {len(shares)} shares; show one of:", *lines)
    return str(shares[0]["id"])


def _receipt(api: "Api", share: str) -> dict[str, Any] | None:
    answer = api.request("GET", f"/shares/{share}/receipt", or_status=_NO_RECEIPT_YET)
    if answer.status_code == _NO_RECEIPT_YET:
        return None
    receipt: dict[str, Any] = answer.json()
    return receipt


def _print_receipt(receipt: dict[str, Any]) -> None:
    instances = receipt.get("instances", [])
    confirmed = sum(one.get("status") == "confirmed" for one in instances)
    whole = "complete" if receipt.get("complete") else "not complete"
    revision = receipt.get("revision")
    print(f"\nReceipt, revision {revision}: {confirmed} of {len(instances)} instances confirmed, {whole}")
    changes = sorted({words for one in instances for words in one.get("changes", ())})
    if changes:
        print(f"Changed on the way out: {'; '.join(changes)}")
    others = [one for one in instances if one.get("status") != "confirmed"]
    if others:
        rows = ((one["sop_instance_uid"], one.get("status"), one.get("reason")) for one in others)
        print_table(("instance", "status", "reason"), rows, none="")


def _trace_link(stack: dict[str, Any], share: dict[str, Any]) -> str | None:
    traces, trace_id = stack.get("traces"), share.get("trace_id")
    return f"{str(traces).rstrip('/')}/zipkin/traces/{trace_id}" if traces and trace_id else None
