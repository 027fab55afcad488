"""Medians, ratios, floors and the documents of the benchmarks."""

from pathlib import Path

import pytest
from benchmarks.corpus import study_sizes
from benchmarks.floors import Floor, floors, ratio
from benchmarks.measure import Meter, Reading, Round
from benchmarks.report import BEGIN, END, failures, markdown, placed, tables, verdict
from benchmarks.results import CT, END_TO_END, IMEX, ORTHANC, RECEIVE, SEND, Results

MACHINE = "2 cores, 24 GB"


def results_of(*settings: tuple[str, str, int, list[float]]) -> Results:
    results = Results(began="2026-01-01 00:00 UTC", machine=MACHINE, rounds=3)
    for scenario, system, associations, rates in settings:
        series = results.of(scenario, CT, system, associations)
        for rate in rates:
            series.add(Round(100, 100 / rate, {"ingest": 2.0, "sender": 0.5}))
    return results


def verdicts(results: Results) -> dict[str, str]:
    return {("aim: " if each.aim else "") + each.what: each.verdict for each in floors(results)}


@pytest.mark.parametrize(
    ("value", "beside", "expected"), [(3.0, 2.0, 1.5), (None, 2.0, None), (3.0, None, None), (3.0, 0.0, None)]
)
def test_a_ratio_needs_both(value: float | None, beside: float | None, expected: float | None) -> None:
    assert ratio(value, beside) == expected


def test_a_series_gives_medians_and_leaves_out_the_ends_where_told() -> None:
    series = results_of((END_TO_END, IMEX, 4, [100.0, 300.0, 120.0])).series[0]

    assert series.rate == 120.0
    assert series.cpu == {"ingest": 2.0, "sender": 0.5}
    assert series.total_cpu(ends=True) == 2.5
    assert series.total_cpu(ends=False) == 2.0


def test_floors_compare_medians_of_one_run() -> None:
    results = results_of(
        (END_TO_END, IMEX, 4, [310.0]),
        (END_TO_END, IMEX, 1, [99.0]),
        (END_TO_END, ORTHANC, 1, [100.0]),
        (END_TO_END, ORTHANC, 2, [250.0]),
        (END_TO_END, ORTHANC, 4, [120.0]),
        (RECEIVE, IMEX, 4, [400.0]),
        (RECEIVE, ORTHANC, 4, [400.0]),
        (SEND, IMEX, 1, [300.0]),
    )

    found = verdicts(results)

    assert found["end to end, 4 associations, beside Orthanc's with 4"] == "met"
    assert found["end to end, 4 associations, beside Orthanc's best"] == "not met"
    assert found["end to end, 1 association, beside Orthanc's with 1"] == "not met"
    assert found["receive only, 4 associations, beside Orthanc's"] == "met"
    assert found["receive only, 8 associations, beside Orthanc's"] == "not measured"
    assert found["send only, beside Orthanc's end to end with 1"] == "met"
    assert found["aim: CPU an image, end to end with 4 associations, all processes and both ends"] == "met"
    assert verdict(results).startswith("2 of 5 floors are NOT met: ")


def test_latency_must_be_below_its_floors() -> None:
    results = results_of()
    results.first_image_ms = [80.0, 99.0, 250.0]
    results.last_image_ms = [280.0, 300.0, 310.0]

    found = verdicts(results)

    assert found["first image of a 20-slice emergency study"] == "met"
    assert found["last image of a 20-slice emergency study"] == "not met"


def test_the_verdict_of_a_run_without_floors_says_so() -> None:
    assert verdict(results_of()) == "No floor was measured in this run."
    assert Floor("a", "b", "c", None).verdict == "not measured"


def test_failed_rounds_are_named_and_do_not_count() -> None:
    results = results_of((END_TO_END, IMEX, 4, [100.0]))
    results.of(END_TO_END, CT, ORTHANC, 4).failures.append("no answer")

    assert failures(results) == ["Orthanc, end to end, ct, 4 associations: no answer"]
    row = next(row for row in tables(results)[0].rows if row[2] == ORTHANC)
    assert row[3] == "failed"
    assert "no answer" in markdown(results)


def test_results_survive_their_json() -> None:
    results = results_of((END_TO_END, IMEX, 4, [100.0, 120.0]), (END_TO_END, ORTHANC, 4, [80.0]))

    again = Results.model_validate_json(results.model_dump_json())

    assert markdown(again) == markdown(results)


def test_figures_replace_those_between_a_documents_marks() -> None:
    document = f"# Title\n\n{BEGIN}\nold\n{END}\n\nAfter\n"

    once = placed(document, "new\n")

    assert once == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nAfter\n"
    assert placed(once, "newer\n") == once.replace("new\n", "newer\n")
    assert placed("no marks", "new\n") == "new\n"


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head() -> None:
    text = markdown(results_of((END_TO_END, IMEX, 4, [100.0]), (RECEIVE, IMEX, 1, [50.0])))

    for block in text.split("\n\n"):
        counts = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(counts) <= 1


def test_waiting_for_rest_costs_an_image_only_what_is_more_than_idling() -> None:
    meter = Meter(dict)
    meter.idle = {"kafka": 0.05, "ingest": 0.0}
    before = Reading(100.0, {"kafka": 10.0, "ingest": 20.0})
    after = Reading(112.0, {"kafka": 11.5, "ingest": 20.4})

    spent = meter.spent_ms(before, after, images=100, busy_until=102.0)

    assert spent == pytest.approx({"kafka": 10.0, "ingest": 4.0})


@pytest.mark.parametrize(
    ("images", "associations", "expected"),
    [
        (400, 1, [100, 100, 100, 100]),
        (400, 4, [100]),
        (400, 8, [60]),
        (450, 2, [75, 75, 75]),
        (20, 4, [20]),
    ],
)
def test_an_association_sends_studies_of_its_own(images: int, associations: int, expected: list[int]) -> None:
    assert study_sizes(images, associations) == expected


def test_the_committed_document_has_its_marks() -> None:
    text = (Path(__file__).parents[3] / "docs" / "performance.md").read_text()

    assert text.index(BEGIN) < text.index(END)
