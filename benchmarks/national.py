"""A directory of national size, synthetic and the same on every run."""

from __future__ import annotations

import random
from dataclasses import dataclass

MODALITIES = ("CT", "MR", "CR", "DX", "US", "MG", "NM", "PT", "XA")
BODY_PARTS = ("HEAD", "CHEST", "ABDOMEN", "PELVIS", "SPINE", "KNEE", "HIP", "BREAST")
WORDS = ("stroke", "trauma", "cancer", "follow up", "cardiac", "spine", "screening", "paediatric")
PURPOSES = ("direct-care", "mdt", "second-opinion", "reporting", "research")
PRIORITIES = ("routine", "routine", "routine", "urgent", "emergency")
HUB = "H000"
"""The source with most rules: every condition in CEL is its own."""


@dataclass(frozen=True)
class Size:
    """How many of each."""

    institutions: int = 500
    groups: int = 40
    agreements: int = 20_000
    rules: int = 10_000
    expressions: int = 200
    """Of the rules, those in CEL; all of the hub's."""


def codes(size: Size) -> list[str]:
    """The institutions' codes."""
    return [f"H{number:03d}" for number in range(size.institutions)]


def document(size: Size = Size(), seed: int = 7) -> str:
    """The directory as the file that people write."""
    chance = random.Random(seed)
    names = codes(size)
    lines = ["institutions:"]
    for number, code in enumerate(names):
        lines.append(
            f"  - {{code: {code}, name: Hospital {number}, kind: nhs, senders: [{{ae_title: {code}_PACS, "
            f"networks: [10.{number // 250}.{number % 250}.0/24]}}], endpoints: [{{name: pacs, type: dicom, "
            f"ae_title: {code}_PACS, host: pacs.{code.lower()}.example.nhs.uk, port: 104, "
            f'accepts: {{max_associations: 4, hours: "{chance.choice(("00:00-24:00", "07:00-20:00"))}"}}}}]}}'
        )
    lines.append("groups:")
    for number in range(size.groups):
        members = ", ".join(chance.sample(names, 12))
        lines.append(f"  - {{code: NET{number}, name: Network {number}, members: [{members}]}}")
    lines.append("agreements:")
    groups = [f"NET{number}" for number in range(size.groups)]
    for number in range(size.agreements):
        source, recipient = chance.sample(names, 2)
        if number % 50 == 0:
            source, recipient = chance.choice(groups), chance.choice(groups)
        purposes = ", ".join(chance.sample(PURPOSES, chance.randint(1, 3)))
        more = "" if number % 5 else ", modalities: [CT, MR, PT, SR]"
        lines.append(
            f"  - {{id: a{number}, from: {source}, to: {recipient}, purposes: [{purposes}], "
            f'legal_basis: "UK GDPR 6(1)(e), 9(2)(h)", valid_from: 2024-01-01, '
            f"valid_until: {2026 + number % 5}-12-31{more}}}"
        )
    lines.append("rules:")
    for number in range(size.rules):
        lines.append(f"  - {_rule(chance, number, names, groups, size)}")
    return "\n".join(lines) + "\n"


def _rule(chance: random.Random, number: int, names: list[str], groups: list[str], size: Size) -> str:
    to = chance.choice(groups) if number % 25 == 0 else chance.choice(names)
    then = f"to: [{to}], purpose: {chance.choice(PURPOSES)}, priority: {chance.choice(PRIORITIES)}"
    if number < size.expressions:
        word, modality = chance.choice(WORDS).upper(), chance.choice(MODALITIES)
        return (
            f'{{id: r{number}, when: \'source == "{HUB}" && study.description.contains("{word}") && '
            f'study.modalities.exists(m, m == "{modality}" || m == "SR") && '
            f"study.series_descriptions.size() < {chance.randint(2, 40)}', {then}}}"
        )
    conditions = [f"source: {chance.choice(names)}", f"modality: {chance.choice(MODALITIES)}"]
    if number % 2:
        conditions.append(f"body_part: {chance.choice(BODY_PARTS)}")
    if number % 3 == 0:
        conditions.append(f"description: {chance.choice(WORDS)}")
    return f"{{id: r{number}, match: {{{', '.join(conditions)}}}, {then}}}"
