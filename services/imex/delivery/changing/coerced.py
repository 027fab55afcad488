"""Under the identifiers that the recipient wants, and back to its own where the sender used others."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from imex.delivery.changing.decide import CannotChange, Coercion
from imex.delivery.changing.form import New
from imex.delivery.changing.ledger import Ledger, Mapping
from imex.delivery.changing.split import Parts
from imex.delivery.jobs import Job
from imex.dicom.mapping import WORDS, domain, same_person
from imex.dicom.syntax import Encoding

T = TypeVar("T")


class Coercer:
    """Changes the identifiers of one delivery's instances."""

    keeps_tail = True

    def __init__(self, job: Job, coercion: Coercion, ledger: Ledger) -> None:
        """By the endpoint's policy."""
        self._job = job
        self._identity = coercion.identity
        self._reverse = coercion.reverse
        self._ledger = ledger
        self._found: dict[tuple[str, ...], Mapping | None] = {}
        self._learnt: set[Any] = set()

    async def of(self, parts: Parts, encoding: Encoding) -> New | None:
        """The head with other identifiers. Raises CannotChange where there are none, or another person's."""
        from imex.dicom import coercion

        dataset, patient, accession, person, uid = await asyncio.to_thread(_read, parts.head, encoding)
        changes: list[str] = []
        for kind, has, policy in (
            ("patient", patient, self._identity.patient_id),
            ("accession", accession, self._identity.accession),
        ):
            if not has.value:
                continue
            mapping, new, words = await self._mapping(kind, has, policy)
            if mapping is not None:
                await self._check(kind, mapping, person)
                replace = coercion.replace_patient_id if kind == "patient" else coercion.replace_accession
                _guarded(replace, dataset, new, self._job.source)
                changes.append(words)
            elif policy != "keep":
                if policy == "map" and self._identity.unmapped == "hold":
                    raise CannotChange(
                        f"held: {self._job.recipient} has no {WORDS[kind]} of its own for this one; "
                        "add it with `imex identifiers add`, and try again"
                    )
                add = coercion.name_patient_issuer if kind == "patient" else coercion.name_accession_issuer
                if _guarded(add, dataset, self._job.source):
                    changes.append(f"issuer of {WORDS[kind]} added")
        if not changes:
            return None
        head = await asyncio.to_thread(_write, dataset, encoding)
        return New(head, uid, tuple(changes))

    async def _mapping(self, kind: str, has: Any, policy: str) -> tuple[Mapping | None, Any, str]:
        """The mapping that applies, the identifier that it leads to, and what is said of that."""
        from imex.dicom.coercion import Identifier

        job = self._job
        key: tuple[str, ...]
        if self._reverse:
            key = ("behind", job.source, kind, job.recipient, has.value)
            if key not in self._found:
                self._found[key] = await self._ledger.behind(job.source, kind, job.recipient, has.value)
            if (back := self._found[key]) is not None:
                own = Identifier(back.value, back.issuer or job.recipient)
                return back, own, f"{WORDS[kind]} mapped back to {job.recipient}'s own"
        if policy == "map":
            issuer = domain(has.issuer, job.source)
            key = ("own", job.recipient, kind, job.source, has.value, issuer)
            if key not in self._found:
                self._found[key] = await self._ledger.own_for(
                    job.recipient, kind, job.source, has.value, issuer
                )
            if (found := self._found[key]) is not None:
                own = Identifier(found.own, job.recipient)
                return found, own, f"{WORDS[kind]} mapped to {job.recipient}'s own"
        return None, None, ""

    async def _check(self, kind: str, mapping: Mapping, person: Any) -> None:
        if not same_person(mapping.name, mapping.birth_date, person.name, person.birth_date):
            raise CannotChange(
                f"held: the {WORDS[kind]} is mapped, but for a person of another name or birth date; "
                "look into it before anything is delivered"
            )
        if (not mapping.name or not mapping.birth_date) and mapping.id not in self._learnt:
            await self._ledger.learn_person(mapping, person.name, person.birth_date)
            self._learnt.add(mapping.id)


def _read(head: bytes, encoding: Encoding) -> tuple[Any, Any, Any, Any, str]:
    from imex.deidentification.reading import text_of
    from imex.delivery.changing.encode import read
    from imex.dicom import coercion

    dataset = read(head, encoding)
    return (
        dataset,
        _guarded(coercion.patient_id_of, dataset),
        _guarded(coercion.accession_of, dataset),
        _guarded(coercion.person_of, dataset),
        _guarded(text_of, dataset, 0x00080018),
    )


def _guarded(ask: Callable[..., T], dataset: Any, *arguments: Any) -> T:
    """What pydicom raises quotes values, and must not get any further."""
    try:
        return ask(dataset, *arguments)
    except Exception as error:  # noqa: BLE001  as said
        raise CannotChange(f"its identifiers cannot be read or changed ({type(error).__name__})") from None


def _write(dataset: Any, encoding: Encoding) -> bytes:
    from imex.delivery.changing.encode import write

    return write(dataset, encoding)
