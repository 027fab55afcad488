"""Columns that recur, so that a thing is stored in one way everywhere."""

from typing import Any

from sqlalchemy import Column, DateTime, Text, Uuid, func


def source() -> Column[str]:
    """The institution that a study came from."""
    return Column("source", Text, nullable=False)


def study_uid() -> Column[str]:
    """Study Instance UID."""
    return Column("study_uid", Text, nullable=False)


def sop_instance_uid(*, primary_key: bool = False) -> Column[str]:
    """SOP Instance UID."""
    return Column("sop_instance_uid", Text, nullable=False, primary_key=primary_key)


def identifier(name: str = "id") -> Column[Any]:
    """A UUID primary key, derived from natural keys and not made by the database."""
    return Column(name, Uuid, primary_key=True)


def moment(name: str, *, nullable: bool = False, now: bool = False, index: bool = False) -> Column[Any]:
    """A point in time with its zone."""
    default = func.now() if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default, index=index)
