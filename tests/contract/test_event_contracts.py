"""The catalogue's governance: every topic and every event is described, exemplified and committed."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from imex.events import (
    EVENT_CLASSES,
    SERVICES,
    TOPICS,
    Event,
    UndecodableEvent,
    decode,
    topic_named,
    topic_of,
)
from imex.events.examples import examples
from imex.events.render import event_schema, event_schemas, topic_definitions

SCHEMAS = Path(__file__).parents[2] / "schemas"
TYPES = sorted(EVENT_CLASSES)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_says_who_owns_it_how_it_is_keyed_and_how_long_it_keeps(topic) -> None:  # type: ignore[no-untyped-def]
    assert topic.owner in (*SERVICES, "any")
    assert topic.key in ("study", "actor", "directory", "process")
    assert topic.events
    assert topic.consumers
    assert set(topic.consumers) <= set(SERVICES)
    assert topic.partitions > 0
    assert topic.compacted or topic.retention_ms > 0
    assert topic.description


def test_topic_names_are_told_apart_and_dead_letters_are_not_for_partners() -> None:
    names = [topic.name for topic in TOPICS] + [topic.dead_letter for topic in TOPICS]
    assert len(names) == len(set(names))
    assert not any(topic.dead_letter.startswith("share") for topic in TOPICS)
    assert [topic.name for topic in TOPICS if topic.name.startswith("share")] == ["shares"]


def test_topics_that_carry_identifying_facts_keep_seven_days() -> None:
    carriers = {
        topic.name
        for topic in TOPICS
        for cls in topic.events
        if '"ciphertext"' in json.dumps(cls.model_json_schema())
    }
    assert carriers == {topic.name for topic in TOPICS if topic.identifying}
    assert all(topic.retention_ms <= 7 * 86_400_000 for topic in TOPICS if topic.identifying)


@pytest.mark.parametrize("name", TYPES)
def test_every_example_is_valid_and_survives_the_wire(name: str) -> None:
    event = examples()[name]
    body = event.encode()
    jsonschema.validate(json.loads(body), event_schema(EVENT_CLASSES[name]))
    assert decode(body) == event
    assert topic_of(event) in {topic.name for topic in TOPICS if EVENT_CLASSES[name] in topic.events}


@pytest.mark.parametrize("name", TYPES)
def test_consumers_are_open_to_what_later_producers_add(name: str) -> None:
    event = examples()[name]
    body = json.loads(event.encode())
    body["later"] = True
    body["data"]["later"] = {"more": 1}
    jsonschema.validate(body, event_schema(EVENT_CLASSES[name]))
    assert decode(json.dumps(body).encode()) == event


@pytest.mark.parametrize("name", TYPES)
def test_the_schema_refuses_an_event_that_lacks_what_it_promises(name: str) -> None:
    schema = event_schema(EVENT_CLASSES[name])
    body = json.loads(examples()[name].encode())
    for attribute in ("id", "type", "source", "time", "dataschema", "data"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({k: v for k, v in body.items() if k != attribute}, schema)


@pytest.mark.parametrize("name", sorted(cls.type_name() for cls in topic_named("shares").events))
def test_share_events_carry_what_partners_were_promised_and_no_patient_data(name: str) -> None:
    data = event_schema(EVENT_CLASSES[name])["$defs"]
    payload = next(d for d in data.values() if "share" in d.get("properties", {}))
    assert {"share", "study_uid", "source", "recipient", "state", "priority"} <= set(payload["required"])
    assert not {"identity", "patient_id", "patient_name", "birth_date"} & set(payload["properties"])


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b'{"type": "imex.unknown.happened"}', b'{"type": "imex.share.failed"}']
)
def test_bytes_that_are_no_event_are_named_as_such(body: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        decode(body)


def test_an_undecodable_event_is_not_quoted() -> None:
    event = json.loads(examples()["imex.audit.recorded"].encode())
    event["data"]["outcome"] = "DOE^JANE"
    with pytest.raises(UndecodableEvent) as caught:
        decode(json.dumps(event).encode())
    assert "DOE" not in str(caught.value)
    assert "data.outcome" in str(caught.value)


def test_what_is_committed_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imex.schemas", "--check", "--root", str(SCHEMAS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_drift_is_noticed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "imex.schemas", "--root", str(tmp_path)], check=True)
    (tmp_path / "events/imex.share.failed/v1.json").write_text("{}")
    (tmp_path / "left-over.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "imex.schemas", "--check", "--root", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "imex.share.failed/v1.json: differs" in done.stderr
    assert "left-over.json: nothing renders it" in done.stderr


def test_every_event_of_the_catalogue_has_a_committed_schema_and_nothing_else_does() -> None:
    committed = {str(p.relative_to(SCHEMAS / "events")) for p in (SCHEMAS / "events").rglob("*.json")}
    assert committed == set(event_schemas())
    topics = yaml.safe_load((SCHEMAS / "topics.yaml").read_text())
    assert topics == topic_definitions()


def test_events_are_named_noun_and_past_tense_verb() -> None:
    for name, cls in EVENT_CLASSES.items():
        assert issubclass(cls, Event)
        prefix, noun, verb = name.split(".")
        assert prefix == "imex"
        assert noun.isalpha()
        assert verb.endswith("ed") or verb in {"withdrawn", "kept"}, name
