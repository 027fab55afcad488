"""Pure: the records that one process appends to the topic `capacity`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from imex.events.capacity import (
    CapacityClaimed,
    CapacityClaimedData,
    CapacityReleased,
    CapacityReleasedData,
    CapacityReported,
    CapacityReportedData,
    InstitutionUse,
)
from imex.ingest.limits.ledger import Wants


@dataclass(frozen=True, slots=True)
class Records:
    """Makes the records of one process; `read_through` is the last offset that it has read."""

    process: UUID
    new_id: Callable[[], UUID]

    def claimed(
        self, read_through: int, number: int, institution: str, limits: tuple[int, int], *, taken: bool
    ) -> CapacityClaimed:
        """A claim; `limits` of associations: everybody's, and the institution's."""
        data = CapacityClaimedData(
            process=self.process,
            read_through=read_through,
            claim=number,
            institution=institution,
            taken=taken,
            limit=limits[0],
            institution_limit=limits[1],
        )
        return CapacityClaimed.of(id=self.new_id(), subject=self._subject, data=data)

    def released(self, read_through: int, number: int, institution: str) -> CapacityReleased:
        """A claim given back."""
        data = CapacityReleasedData(
            process=self.process, read_through=read_through, claim=number, institution=institution
        )
        return CapacityReleased.of(id=self.new_id(), subject=self._subject, data=data)

    def reported(
        self, read_through: int, held: Mapping[str, int], wants: Mapping[str, Wants]
    ) -> CapacityReported:
        """What is held and wanted, by institution."""
        codes = sorted({*wants, *(code for code, count in held.items() if count)})
        uses = tuple(
            InstitutionUse(
                code=code,
                associations=held.get(code, 0),
                in_flight_bytes=wants.get(code, Wants()).in_flight_bytes,
                bytes_per_s=wants.get(code, Wants()).bytes_per_s,
            )
            for code in codes
        )
        data = CapacityReportedData(process=self.process, read_through=read_through, institutions=uses)
        return CapacityReported.of(id=self.new_id(), subject=self._subject, data=data)

    def left(self, read_through: int) -> CapacityReported:
        """The process stops."""
        data = CapacityReportedData(process=self.process, read_through=read_through, leaving=True)
        return CapacityReported.of(id=self.new_id(), subject=self._subject, data=data)

    @property
    def _subject(self) -> str:
        return f"process/{self.process}"
