"""The base of every part of the directory."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Part(BaseModel):
    """Immutable, closed to fields that nobody knows.

    A field that came after the first release is written only where it says something, so that a document
    that does not use it keeps its digest, which is its version's name.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after the first release."""

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        for name in self.LATER:
            field = type(self).model_fields[name]
            if getattr(self, name) == field.get_default(call_default_factory=True):
                written.pop(field.alias or name, None)
        return written
