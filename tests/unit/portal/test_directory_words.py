"""What the page of the directory says of agreements and rules."""

from imex.directory import Agreement, Rule
from imex.portal.pages import directory_words


def test_an_agreement_says_what_it_demands_and_allows() -> None:
    agreement = Agreement.model_validate(
        {
            "id": "a1",
            "from": "RQM",
            "to": "UNI",
            "purposes": ["direct-care", "research"],
            "legal_basis": "law",
            "modalities": ["CT", "MR"],
            "controllers": "UNI",
            "clinician_required": True,
            "deidentify": {"project": "LUNG"},
            "sensitive": True,
        }
    )
    assert list(directory_words.of_agreement(agreement)) == [
        "Only studies that have nothing but CT or MR.",
        "Controller: UNI.",
        "A share has to name the clinician it is meant for.",
        "Everything is de-identified, for project LUNG.",
        "It covers records that are marked as sensitive, too.",
        "The national data opt-out applies to research.",
    ]
    exempt = agreement.model_copy(update={"opt_out": "exempt", "deidentify": None})
    assert list(directory_words.of_agreement(exempt))[-1] == "The national data opt-out does not apply."


def test_a_rule_says_what_it_asks_for() -> None:
    rule = Rule.model_validate(
        {
            "id": "r1",
            "match": {"source": "RQM"},
            "to": "RT3",
            "quiet_s": 5,
            "clinician": "Dr X",
            "alternates": [{"if": "closed", "to": ["RW6", "NIGHT"]}],
            "priors": {"count": 2},
            "unless_held": True,
            "escalate": {"after_s": 60},
        }
    )
    assert list(directory_words.of_rule(rule)) == [
        "For Dr X.",
        "Whole after 5 seconds without anything new.",
        "Instead to RW6, NIGHT if closed.",
        "With up to 2 earlier studies of the person.",
        "Not to whom has it already.",
        "Becomes urgent if it is not delivered after 60 seconds.",
    ]
