"""What a changed file changes, told entry by entry."""

from imex.directory import Directory, diff, parse


def test_equal_directories_have_no_difference(example: str) -> None:
    assert diff(parse(example), parse(example)) == []


def test_a_changed_value_is_told_with_before_and_after(example: str) -> None:
    (change,) = diff(parse(example), parse(example.replace("port: 4243", "port: 4244")))
    assert (change.kind, change.path) == ("changed", "institutions.RT3.endpoints.pacs.port")
    assert (change.before, change.after) == (4243, 4244)
    assert change.words == "changed institutions.RT3.endpoints.pacs.port: 4243 → 4244"


def test_what_is_no_longer_named_is_removed(example: str) -> None:
    changes = diff(parse(example), parse(example.split("rules:", maxsplit=1)[0]))
    assert [(change.kind, change.path) for change in changes] == [
        ("removed", "rules.r1"),
        ("removed", "rules.r2"),
    ]


def test_a_first_directory_is_all_additions(example: str) -> None:
    paths = [change.path for change in diff(Directory(), parse(example))]
    assert paths == [
        "institutions.RQM",
        "institutions.RT3",
        "groups.STROKE_NW",
        "agreements.a1",
        "rules.r1",
        "rules.r2",
    ]


def test_order_is_told_since_the_first_endpoint_counts(example: str) -> None:
    two = example.replace(
        "endpoints:\n      - {", "endpoints:\n      - {name: box, type: inbox}\n      - {", 1
    )
    swapped = example.replace("port: 4242}\n", "port: 4242}\n      - {name: box, type: inbox}\n", 1)
    (change,) = diff(parse(two), parse(swapped))
    assert change.path == "institutions.RQM.endpoints (order)"
    assert change.after == ["pacs", "box"]
