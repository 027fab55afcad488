"""Metrics come from the registry of names."""

import re

import pytest

from imex.observability import names
from imex.observability.metrics import Metrics


def test_every_name_can_be_made_and_rendered_together() -> None:
    metrics = Metrics("test")
    for name in names.all_metrics():
        match name:
            case names.CounterName():
                metrics.counter(name)
            case names.GaugeName():
                metrics.gauge(name)
            case names.HistogramName():
                metrics.histogram(name)
    text = metrics.render().decode()
    assert 'imex_build_info{service="test"' in text
    assert "process_resident_memory_bytes" in text
    assert all(name.name in text for name in names.all_metrics())


def test_names_follow_the_conventions_and_are_unique() -> None:
    every = names.all_metrics()
    assert len({name.name for name in every}) == len(every)
    for name in every:
        assert re.fullmatch(r"imex_[a-z]+(_[a-z]+)+", name.name)
        assert name.name.endswith("_total") == isinstance(name, names.CounterName)
        assert not {"patient", "study_uid", "accession", "share", "instance"} & set(name.labels)


def test_asking_twice_gives_the_same_metric() -> None:
    metrics = Metrics("test")
    metrics.counter(names.INGEST_BYTES).inc(2)
    metrics.counter(names.INGEST_BYTES).inc(3)
    assert metrics.registry.get_sample_value("imex_ingest_bytes_total") == 5


def test_two_services_in_one_process_do_not_meet() -> None:
    one, other = Metrics("one"), Metrics("other")
    one.counter(names.INGEST_BYTES).inc()
    other.counter(names.INGEST_BYTES)
    assert other.registry.get_sample_value("imex_ingest_bytes_total") == 0


def test_a_name_is_of_one_kind() -> None:
    metrics = Metrics("test")
    metrics.counter(names.INGEST_BYTES)
    with pytest.raises(TypeError, match="Counter"):
        metrics.gauge(names.GaugeName("imex_ingest_bytes_total", ""))
