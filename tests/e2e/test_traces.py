"""One trace for a study's passage, read back from Zipkin."""

from collections.abc import Callable
from typing import Any

import httpx2

from imex.testing.dicom import synthetic_study
from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp, dcmsend

Receiving = Callable[[Institution], StoreScp]
Span = dict[str, Any]


def spans_of(network: Network, trace_id: str) -> list[Span]:
    answer = httpx2.get(f"{network.stack.described['traces']}/api/v2/trace/{trace_id}", trust_env=False)
    found: list[Span] = answer.json() if answer.status_code == 200 else []
    return found


def service_of(span: Span) -> str:
    return str(span["localEndpoint"]["serviceName"]).removeprefix("imex-")


def test_a_passage_is_one_trace_across_the_services(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiving(recipient)
    study = synthetic_study(12, size=64)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    wanted = {"ingest", "validation", "routing", "delivery", "audit"}

    def complete() -> list[Span]:
        spans = spans_of(network, share["trace_id"])
        names = {service_of(span) for span in spans}
        rooted = any("parentId" not in span for span in spans)
        ids = {span["id"] for span in spans}
        orphans = [span for span in spans if span.get("parentId") not in ids | {None}]
        return spans if wanted <= names and rooted and not orphans else []

    spans: list[Span] = network.wait_for(
        complete,
        30,
        "a whole trace",
        lambda: str(
            [
                (service_of(s), s["name"], s["id"], s.get("parentId"))
                for s in spans_of(network, share["trace_id"])
            ]
        ),
    )
    by_id = {span["id"]: span for span in spans}
    roots = [span for span in spans if "parentId" not in span]
    assert [service_of(root) for root in roots] == ["routing"]
    edges = {(service_of(by_id[span["parentId"]]), service_of(span)) for span in spans if "parentId" in span}
    assert {("ingest", "validation"), ("validation", "routing")} <= edges
    assert any(edge[1] == "delivery" for edge in edges)
    names = {(service_of(span), span["name"]) for span in spans}
    assert ("ingest", "association") in names
    assert ("delivery", "delivery attempt") in names
    text = str(spans)
    assert study.patient_id not in text
    assert "TESTPATIENT" not in text


def test_every_record_about_the_study_carries_its_trace(network: Network, receiving: Receiving) -> None:
    source, recipient = network.pair()
    receiving(recipient)
    study = synthetic_study(2, size=32)
    dcmsend(network.dicom_port, network.files(study), source.ae_title)
    share = network.wait_share(study.study_uid, "delivered")
    feed = network.get("/events", limit=1000)
    events = [event for event in feed["items"] if event["data"]["study_uid"] == study.study_uid]
    assert [event["type"] for event in events][:1] == ["imex.share.requested"]
    assert all(event["traceparent"].split("-")[1] == share["trace_id"] for event in events)
    sequences = [event["data"]["sequence"] for event in events]
    assert sequences == sorted(set(sequences))
