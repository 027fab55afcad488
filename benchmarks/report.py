"""The tables of a run, for a terminal and for the docs, from one set of rows. Pure, but for the printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.floors import floors, ratio
from benchmarks.measure import median
from benchmarks.results import (
    CT,
    END_TO_END,
    IMEX,
    MIXED,
    ORTHANC,
    RECEIVE,
    RECEIVE_WORKING,
    ROUTINE,
    SEND,
    Results,
)

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
_BESIDE = {RECEIVE_WORKING: RECEIVE, ROUTINE: END_TO_END}
"""What only Imex does, and what of Orthanc's it is set beside."""
_SCENARIOS = (RECEIVE, RECEIVE_WORKING, SEND, END_TO_END, ROUTINE)


@dataclass(frozen=True)
class Table:
    """A title, the columns' heads and the rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results) -> list[Table]:
    """All tables of a run that have something in them."""
    made = [_rates(results, CT), _rates(results, MIXED), _latency(results), _cpu(results), _floors(results)]
    return [table for table in made if table.rows]


def _rates(results: Results, corpus: str) -> Table:
    rows = []
    for scenario in _SCENARIOS:
        for number in results.associations(scenario, corpus):
            beside = results.rate(_BESIDE.get(scenario, scenario), ORTHANC, number, corpus)
            for system in results.systems():
                series = results.find(scenario, corpus, system, number)
                if series is None:
                    continue
                rate, times = series.rate, ratio(series.rate, beside)
                cpu = series.total_cpu(ends=False)
                rows.append(
                    (
                        scenario, str(number), system,
                        "failed" if rate is None else f"{rate:.0f}",
                        "–" if not series.rates else f"{min(series.rates):.0f}–{max(series.rates):.0f}",
                        "–" if times is None else f"{times:.2f} ×",
                        f"{cpu:.1f}" if cpu else "–",
                    )
                )  # fmt: skip
    heads = (
        "scenario", "associations", "system", "images/s", "rounds", "beside Orthanc", "CPU ms an image",
    )  # fmt: skip
    name = {CT: "CT slices of 512 KB", MIXED: "CR, US, MR and CT mixed"}[corpus]
    return Table(f"{name}: medians of {results.rounds} rounds", heads, rows)


def _latency(results: Results) -> Table:
    rows = [
        (what, f"{median(values):.0f}", f"{min(values):.0f}–{max(values):.0f}", str(len(values)))
        for what, values in (
            ("first image", results.first_image_ms),
            ("last image", results.last_image_ms),
        )
        if values
    ]
    return Table(
        "20-slice emergency study on an idle stack, from the first byte sent to the receiver's answer",
        ("", "median ms", "from–to", "studies"),
        rows,
    )


def _cpu(results: Results) -> Table:
    numbers = results.associations(END_TO_END)
    found = {number: results.find(END_TO_END, CT, IMEX, number) for number in numbers}
    spent = {number: series.cpu for number, series in found.items() if series is not None and series.rates}
    names = sorted(
        {name for cpu in spent.values() for name in cpu},
        key=lambda name: -max(cpu.get(name, 0.0) for cpu in spent.values()),
    )
    rows = [(name, *(f"{cpu.get(name, 0.0):.2f}" for cpu in spent.values())) for name in names]
    if rows:
        rows.append(("all", *(f"{sum(cpu.values()):.2f}" for cpu in spent.values())))
    heads = ("process", *(f"{number} associations" for number in spent))
    return Table("Imex end to end, CT: CPU ms an image in each process", heads, rows)


def _floors(results: Results) -> Table:
    rows = [
        (("aim: " if floor.aim else "") + floor.what, floor.needed, floor.got, floor.verdict)
        for floor in floors(results)
    ]
    return Table("Floors and aims", ("figure", "needed", "measured", "verdict"), rows)


def verdict(results: Results) -> str:
    """One line: how many floors are met."""
    known = [floor for floor in floors(results) if not floor.aim and floor.met is not None]
    short = [floor.what for floor in known if not floor.met]
    if not known:
        return "No floor was measured in this run."
    if not short:
        return f"All {len(known)} floors that were measured are met."
    return f"{len(short)} of {len(known)} floors are NOT met: {'; '.join(short)}."


def markdown(results: Results) -> str:
    """The tables for the docs."""
    parts = [f"Measured {results.began} on {results.machine}, medians of {results.rounds} rounds."]
    for table in tables(results):
        lines = [f"**{table.title}**", "", _line(table.heads)]
        lines.append(_line(["---" if number == 0 else "---:" for number, _ in enumerate(table.heads)]))
        lines += [_line(row) for row in table.rows]
        parts.append("\n".join(lines))
    parts += [idle(results), verdict(results), *(f"- {failure}" for failure in failures(results))]
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def idle(results: Results) -> str:
    """What the systems use at rest, for it takes from what the others have."""
    used = ", ".join(f"{system} {cores:.2f}" for system, cores in results.idle_cores.items())
    return f"Cores in use with nothing to do: {used}."


def placed(document: str, figures: str) -> str:
    """A document with new figures between its marks, or the figures alone when it has no marks."""
    if BEGIN not in document or END not in document:
        return figures
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{figures}{END}{rest.partition(END)[2]}"


def failures(results: Results) -> list[str]:
    """What did not succeed, in words."""
    latency = [f"{IMEX}, latency: {failure}" for failure in results.latency_failures]
    return latency + [
        f"{each.system}, {each.scenario}, {each.corpus}, {each.associations} associations: {failure}"
        for each in results.series
        for failure in each.failures
    ]


def show(results: Results) -> None:
    """Print the tables and the verdict."""
    console = Console(width=120)
    for table in tables(results):
        shown = RichTable(title=table.title, title_justify="left")
        for number, head in enumerate(table.heads):
            shown.add_column(
                head, justify="left" if number == 0 or head in {"system", "verdict"} else "right"
            )
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for failure in failures(results):
        console.print(f"failed: {failure}", soft_wrap=True)
    console.print(idle(results), soft_wrap=True)
    console.print(verdict(results), soft_wrap=True)
