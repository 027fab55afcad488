"""`imex reconcile`: what was acknowledged against what became of it."""

from typing import Any

import typer

from imex.cli.output import AsJson, print_facts, print_json, print_table

UNBALANCED = 1
"""Exit code where something acknowledged is unaccounted for."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reconcile", help="Acknowledged against delivered, waiting, quarantined, refused, expired.")(
        reconcile
    )


def reconcile(as_json: AsJson = False) -> None:
    """Exit 1 when what was acknowledged and what became of it differ."""
    from imex.cli.client import Api

    with Api() as api:
        answer = api.get("/reconcile")
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if not answer["balanced"]:
        raise typer.Exit(UNBALANCED)


def _print(answer: dict[str, Any]) -> None:
    lists = {name: value for name, value in answer.items() if isinstance(value, list)}
    print_facts({name: value for name, value in answer.items() if name not in lists and name != "balanced"})
    for name, found in lists.items():
        rows = [one for one in found if isinstance(one, dict)]
        if rows:
            print(f"\n{name}:")
            print_table(tuple(rows[0]), (tuple(row.values()) for row in rows), none="")
    print("Balanced." if answer["balanced"] else "NOT balanced: the above is unaccounted for.")
