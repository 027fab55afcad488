"""A directory of national size, synthetic and the same on every run."""

from __future__ import annotations

import random
from dataclasses import dataclass

MODALITIES = ("CT", "MR", "CR", "DX", "US", "MG", "NM", "PT", "XA")
LIMITED = ("CT", "MR", "PT")
BODY_PARTS = ("HEAD", "CHEST", "ABDOMEN", "PELVIS", "SPINE", "KNEE", "HIP", "BREAST")
WORDS = ("stroke", "trauma", "cancer", "follow up", "cardiac", "spine", "screening", "paediatric")
PURPOSES = ("direct-care", "mdt", "second-opinion", "reporting", "research")
PRIORITIES = ("routine", "routine", "routine", "urgent", "emergency")
Agreed = tuple[str, str, str, tuple[str, ...]]
"""Source, recipient, purpose and modalities of an agreement."""
MEMBERS = 10
"""Of a network."""
HUB = "H000"
"""The source of all rules in CEL."""
EXPRESSIONS = 200
"""Of the rules, those in CEL."""


@dataclass(frozen=True)
class Size:
    """How many of each."""

    institutions: int = 500
    groups: int = 40
    agreements: int = 20_000
    rules: int = 10_000


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
    networks = {f"NET{number}": chance.sample(names, MEMBERS) for number in range(size.groups)}
    for code, members in networks.items():
        lines.append(f"  - {{code: {code}, name: Network {code}, members: [{', '.join(members)}]}}")
    lines.append("agreements:")
    groups = list(networks)
    agreed: list[Agreed] = []
    for number in range(size.agreements):
        source, recipient = chance.sample(names, 2)
        if number % 100 == 0:
            source, recipient = chance.choice(groups), chance.choice(groups)
        wanted = chance.sample(PURPOSES, chance.randint(1, 3))
        limited = number % 7 == 0
        agreed.append((source, recipient, wanted[0], LIMITED if limited else MODALITIES))
        purposes = ", ".join(wanted)
        more = f", modalities: [{', '.join(LIMITED)}]" if limited else ""
        lines.append(
            f"  - {{id: a{number}, from: {source}, to: {recipient}, purposes: [{purposes}], "
            f'legal_basis: "UK GDPR 6(1)(e), 9(2)(h)", valid_from: 2024-01-01, '
            f"valid_until: {2026 + number % 5}-12-31{more}}}"
        )
    lines.append("rules:")
    lines.extend(f"  - {_rule(chance, number, agreed, networks, names)}" for number in range(size.rules))
    return "\n".join(lines) + "\n"


def _rule(
    chance: random.Random, number: int, agreed: list[Agreed], networks: dict[str, list[str]], names: list[str]
) -> str:
    """Rules follow agreements, one in a hundred goes to a network; one in ten goes to just anybody."""
    source, recipient, purpose, modalities = chance.choice(agreed)
    if source in networks:
        source = chance.choice(networks[source])
    if number % 10 == 0 and source in names:
        recipient = chance.choice(names)
    then = f"to: [{recipient}], purpose: {purpose}, priority: {chance.choice(PRIORITIES)}"
    if number < EXPRESSIONS:
        word, modality = chance.choice(WORDS).upper(), chance.choice(modalities)
        return (
            f'{{id: r{number}, when: \'source == "{HUB}" && study.description.contains("{word}") && '
            f'study.modalities.exists(m, m == "{modality}" || m == "SR") && '
            f"study.series_descriptions.size() < {chance.randint(2, 40)}', {then}}}"
        )
    conditions = [f"source: {source}", f"modality: {chance.choice(modalities)}"]
    if number % 2:
        conditions.append(f"body_part: {chance.choice(BODY_PARTS)}")
    if number % 3 == 0:
        conditions.append(f"description: {chance.choice(WORDS)}")
    return f"{{id: r{number}, match: {{{', '.join(conditions)}}}, {then}}}"
