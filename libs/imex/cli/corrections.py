"""`imex corrections`: what sources take back or correct, until each recipient has acknowledged it."""

from typing import Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, Limit, local_time, print_json, print_table

Study = Annotated[str, typer.Argument(metavar="STUDY_UID", help="Study Instance UID.")]
Source = Annotated[str, typer.Option("--source", help="Code of the institution that sent it.")]
WhyCode = Annotated[
    str, typer.Option("--why", help="wrong-patient, quality, patient-safety or retention-expired.")
]
Words = Annotated[str, typer.Option("--reason", help="More about it, in words that name no patient.")]
Correction = Annotated[str, typer.Argument(metavar="CORRECTION", help="Its id, of `imex corrections list`.")]


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Recalls and corrections of what was shared.", no_args_is_help=True)
    app.command("list", help="What was recalled or corrected, and who has not acknowledged it.")(listed)
    app.command("show", help="One of them, with what is right of the person.")(show)
    app.command("recall", help="Take a whole study back from every recipient.")(recall)
    app.command("reject", help="Take instances of a study back from every recipient.")(reject)
    app.command("announce", help="Tell every recipient that a person's data is wrong, or was merged.")(
        announce
    )
    app.command("acknowledge", help="Say that somebody of the recipient has seen to it.")(acknowledge)
    return app


def listed(
    outstanding: Annotated[
        bool, typer.Option("--outstanding", help="Only what somebody has not acknowledged.")
    ] = False,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """One line for each share that is concerned."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.items("/corrections", {"outstanding": "true"} if outstanding else {}, limit)
    if as_json:
        print_json(answer)
        return
    rows: list[tuple[object, ...]] = []
    for one in answer["items"]:
        what = _what(one)
        rows += [
            (one["id"], one["source"], share["recipient"], what, share["state"], _seen(share))
            for share in one["concerned"]
        ] or [(one["id"], one["source"], "", what, "", "concerns nobody")]
    print_table(
        ("id", "from", "to", "what", "state", "acknowledged"), rows, none="Nothing was recalled or corrected."
    )


def _what(one: dict[str, Any]) -> str:
    if one["kind"] != "recall":
        return {"demographics": "wrong demographics", "merge": "patients merged"}[one["kind"]]
    return f"{'study' if one['whole'] else one['instances']}: {one['title']}"


def _seen(share: dict[str, Any]) -> str:
    if share["acknowledged_at"]:
        return f"{share['acknowledged_by']} {local_time(share['acknowledged_at'])}"
    since = share["outstanding_since"]
    return f"outstanding since {local_time(since)}" if since else ""


def show(correction: Correction, as_json: AsJson = False) -> None:
    """Whose data it is is shown to those alone who may know."""
    from imex.cli.client import Api

    with Api() as api:
        one = api.get(f"/corrections/{correction}")
    if as_json:
        print_json(one)
        return
    print(f"{one['source']} {one['study_uid']}: {_what(one)}{': ' + one['reason'] if one['reason'] else ''}")
    for share in one["concerned"]:
        print(f"  {share['recipient']}: {share['state']} {share['reason']} {_seen(share)}".rstrip())
    for name in ("wrong", "right"):
        told = (one["person"] or {}).get(name) or {}
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in told.items() if value)
        if said:
            print(f"  {name}: {said}")


def recall(study: Study, source: Source, why: WhyCode, reason: Words = "", as_json: AsJson = False) -> None:
    """What has not been delivered stops; what has is followed by a rejection note."""
    _open({"study_uid": study, "source": source, "why": why, "reason": reason}, as_json=as_json)


def reject(  # noqa: PLR0917  options
    study: Study,
    source: Source,
    why: WhyCode,
    instance: Annotated[list[str], typer.Option("--instance", help="SOP Instance UID; may be repeated.")],
    reason: Words = "",
    as_json: AsJson = False,
) -> None:
    """The rest of the study goes on."""
    body = {"study_uid": study, "source": source, "why": why, "reason": reason, "instances": instance}
    _open(body, as_json=as_json)


def announce(
    study: Study,
    source: Source,
    kind: Annotated[str, typer.Option("--kind", help="demographics or merge.")],
    reason: Words = "",
    as_json: AsJson = False,
) -> None:
    """What was wrong and what is right is asked for, so that no history of commands names a patient."""
    facts = ("issuer", "patient_id", "patient_name", "birth_date")
    person: dict[str, dict[str, str]] = {}
    for name, words in (("wrong", "What was wrong"), ("right", "What is right")):
        print(f"{words}; leave empty what is not meant.")
        person[name] = {
            fact: typer.prompt(f"  {fact.replace('_', ' ')}", default="", show_default=False)
            for fact in facts
        }
    if not any(value for told in person.values() for value in told.values()):
        raise Failure("Nothing was entered, so nothing was announced.")
    body = {"study_uid": study, "source": source, "kind": kind, "reason": reason, "person": person}
    _open(body, as_json=as_json)


def acknowledge(
    correction: Correction,
    remark: Annotated[
        str, typer.Option("--remark", help="What was done, in words that name no patient.")
    ] = "",
    recipient: Annotated[
        str | None, typer.Option("--for", help="Code of the recipient; for administrators.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """It is not outstanding any more for the recipient."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.post(
            f"/corrections/{correction}/acknowledge", {"remark": remark, "recipient": recipient}
        )
    _told(answer, as_json=as_json)


def _open(body: dict[str, Any], *, as_json: bool) -> None:
    from imex.cli.client import Api

    with Api() as api:
        answer = api.post("/corrections", body)
    _told(answer, as_json=as_json)


def _told(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    elif "concerned" not in answer:
        print(f"{answer['id']}: asked for; see `imex corrections list`")
    else:
        print(f"{answer['id']}: {_what(answer)}")
        for share in answer["concerned"]:
            print(f"  {share['recipient']}: {share['state']} {_seen(share)}".rstrip())
