"""Real parts for tests that run a service as a process of its own."""

from collections.abc import Iterator

import pytest

from imex.settings import KafkaSettings
from imex.testing.parts import MinioPart, kafka_part, minio_part


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioPart]:
    with minio_part(tmp_path_factory.mktemp("minio")) as part:
        yield part


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """A broker of its own: the topics of the catalogue are one for all its users."""
    with kafka_part(tmp_path_factory.mktemp("kafka")) as part:
        yield KafkaSettings.model_validate(
            {"bootstrap": part.bootstrap, "username": part.username, "password": part.password}
        )
