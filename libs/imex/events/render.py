"""The contracts as documents: JSON Schemas, topic definitions. Pure: dictionaries out."""

from typing import Any

from imex.events.catalog import EVENT_CLASSES, TOPICS, EventClass

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def event_schema(cls: EventClass) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the whole event, envelope included, as producers write it."""
    schema = cls.model_json_schema(mode="serialization")
    # pydantic counts fields with defaults as required when serialised, but None is left out of the body
    _drop_nullable_from_required(schema)
    for definition in schema.get("$defs", {}).values():
        _drop_nullable_from_required(definition)
    schema["title"] = cls.type_name()
    schema["properties"]["dataschema"]["const"] = cls.schema_url()
    return {"$schema": DIALECT, "$id": cls.schema_url(), **schema}


def _drop_nullable_from_required(schema: dict[str, Any]) -> None:
    properties = schema.get("properties", {})
    required = [name for name in schema.get("required", []) if not _nullable(properties[name])]
    if "required" in schema:
        schema["required"] = required


def _nullable(schema: dict[str, Any]) -> bool:
    return any(option.get("type") == "null" for option in schema.get("anyOf", ()))


def event_schemas() -> dict[str, dict[str, Any]]:
    """Every event's schema by its path below `schemas/events`."""
    return {f"{name}/v{cls.VERSION}.json": event_schema(cls) for name, cls in sorted(EVENT_CLASSES.items())}


def topic_definitions() -> dict[str, Any]:
    """The topics and their dead-letter twins, as `schemas/topics.yaml` says them."""
    return {
        "topics": [
            {
                "name": topic.name,
                "description": topic.description,
                "owner": topic.owner,
                "events": [cls.type_name() for cls in topic.events],
                "key": topic.key,
                "producers": list(topic.producers),
                "consumers": list(topic.consumers),
                "partitions": topic.partitions,
                "retention_ms": topic.retention_ms,
                "cleanup": "compact" if topic.compacted else "delete",
                "identifying": topic.identifying,
                "broker_time": topic.broker_time,
                "dead_letter": topic.dead_letter,
            }
            for topic in TOPICS
        ]
    }
