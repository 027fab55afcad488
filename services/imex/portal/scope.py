"""What a caller may see."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, or_, true

from imex.events.audit import Actor

Role = Literal["admin", "institution", "sender", "viewer"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the network that a caller may see; `institution` None sees everything."""

    institution: str | None

    def either(self, source: ColumnElement[str], recipient: ColumnElement[str]) -> ColumnElement[bool]:
        """Rows where the caller's institution is source or recipient."""
        if self.institution is None:
            return true()
        return or_(source == self.institution, recipient == self.institution)

    def sees(self, source: str) -> bool:
        """Whether what belongs to `source` alone may be told to the caller."""
        return self.institution in {None, source}

    def own(self, source: ColumnElement[str]) -> ColumnElement[bool]:
        """Rows that belong to the caller's institution alone."""
        return true() if self.institution is None else source == self.institution


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and on whose behalf."""

    kind: Literal["token", "account", "ae"]
    id: str
    label: str
    institution: str | None
    role: Role
    username: str = ""
    """Of an account; a token and a DICOM node have none."""

    @property
    def scope(self) -> Scope:
        """Only the network's own administration, which belongs to no institution, sees everything."""
        return Scope(self.institution)

    @property
    def is_admin(self) -> bool:
        """Whether the caller administers the network."""
        return self.role == "admin" and self.institution is None

    @property
    def may_act(self) -> bool:
        """Whether the caller may change anything at all."""
        return self.role != "viewer"

    @property
    def name(self) -> str:
        """How timelines and decisions name the caller: by account, as a person's name could not be erased."""
        match self.kind:
            case "account":
                return self.username
            case "token":
                return f"token {self.label}"
            case "ae":
                return f"AE title {self.label}"

    @property
    def actor(self) -> Actor:
        """The caller in the audit record: the person, or the system that holds a token."""
        if self.kind == "account":
            return Actor(kind="person", id=self.id, institution=self.institution)
        if self.institution is not None:
            return Actor(kind="institution", id=self.institution, institution=self.institution)
        return Actor(kind="service", id="admin")

    def acts_for(self, *institutions: str) -> bool:
        """Whether the caller may act as one of `institutions`."""
        return self.may_act and (self.is_admin or self.institution in institutions)
