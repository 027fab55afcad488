"""The shape of every list."""

from typing import Generic, TypeVar

from pydantic import BaseModel, Field

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list; `next` goes into `after` for the following one."""

    items: list[T]
    next: str | None = Field(description="null: nothing follows")
