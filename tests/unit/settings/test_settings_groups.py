"""Wrong settings are errors at start, not a service that waits for ever."""

import pytest
from pydantic import ValidationError

from imex.settings import KafkaSettings, S3Settings


@pytest.mark.parametrize("bootstrap", ["kafka:9092", "a:9092,b:9092", "[::1]:9092"])
def test_servers_with_their_ports_are_taken(bootstrap: str) -> None:
    assert KafkaSettings(bootstrap=bootstrap).bootstrap == bootstrap


@pytest.mark.parametrize("bootstrap", ["", "kafka", "kafka:", ":9092", "kafka:70000", "a:9092,,b:9092"])
def test_other_bootstrap_servers_are_refused(bootstrap: str) -> None:
    with pytest.raises(ValidationError, match="host:port"):
        KafkaSettings(bootstrap=bootstrap)


@pytest.mark.parametrize("endpoint", ["", "minio:9000", "s3://minio", "http://"])
def test_an_object_store_without_an_http_address_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="http"):
        S3Settings(endpoint=endpoint)
