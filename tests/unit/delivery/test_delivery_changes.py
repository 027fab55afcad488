"""What changes in a delivery: by the agreement, else because it came back, else for the endpoint."""

from typing import Any

import pytest

from imex.delivery.changing.decide import Asked, Coercion, MayNotLeave, Returned, change_for
from imex.directory import Directory, DirectoryIndex
from imex.directory.policies import Deidentification, IdentityPolicy

KEEP, MAP = IdentityPolicy(), IdentityPolicy(patient_id="map")
BACK = Returned("p1", "2.25.1", "P", {}, {})


def directory(*agreements: dict[str, Any]) -> DirectoryIndex:
    document = {
        "institutions": [{"code": code, "name": code, "kind": "nhs"} for code in ("RQM", "RT3")],
        "agreements": [
            {"from": "RQM", "to": "RT3", "purposes": ["research"], "legal_basis": "x", **one}
            for one in agreements
        ],
    }
    return DirectoryIndex(Directory.model_validate(document))


def asked(**facts: Any) -> Asked:
    known: dict[str, Any] = {
        "source": "RQM", "recipient": "RT3", "agreement": "a1", "begun": None, "identity": KEEP,
    }  # fmt: skip
    return Asked(**(known | facts))


PLAIN, FORCED = {"id": "a1"}, {"id": "a1", "deidentify": {"project": "p1"}}
OTHER = {"id": "a2", "deidentify": {"project": "p2"}}
ONE, TWO = Deidentification(project="p1"), Deidentification(project="p2")


@pytest.mark.parametrize(
    ("agreements", "facts", "change"),
    [
        ([PLAIN], {}, None),
        ([PLAIN, OTHER], {}, None),
        ([FORCED], {}, ONE),
        ([FORCED], {"identity": MAP, "returned": BACK, "reverse": True}, ONE),
        ([PLAIN], {"identity": MAP}, Coercion(MAP, False)),
        ([PLAIN], {"reverse": True}, Coercion(KEEP, True)),
        ([PLAIN], {"returned": BACK, "identity": MAP}, BACK),
        ([PLAIN], {"begun": {"project": "p1"}}, ONE),
        ([OTHER | {"id": "a1"}], {"begun": {"project": "p1"}}, ONE),
        (
            [FORCED | {"deidentify": {"project": "p1", "burned_in": "release"}}],
            {"begun": {"project": "p1"}},
            Deidentification(project="p1", burned_in="release"),
        ),
        ([PLAIN], {"agreement": None}, None),
        ([], {"agreement": None, "identity": MAP}, Coercion(MAP, False)),
    ],
)
def test_what_changes(agreements: list[dict[str, Any]], facts: dict[str, Any], change: Any) -> None:
    assert change_for(directory(*agreements), asked(**facts)) == change


@pytest.mark.parametrize(
    ("agreements", "facts"),
    [
        ([], {}),
        ([OTHER], {}),
        ([PLAIN | {"from": "RT3", "to": "RQM"}], {}),
        ([PLAIN, OTHER], {"agreement": None}),
        ([PLAIN], {"begun": {"nonsense": True}}),
    ],
)
def test_nothing_leaves(agreements: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    with pytest.raises(MayNotLeave):
        change_for(directory(*agreements), asked(**facts))
