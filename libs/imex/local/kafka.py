"""Apache Kafka in KRaft mode, broker and controller in one process, from its Maven artefacts."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from imex.local.cache import PartUnavailable, cached, run_shown, tool
from imex.local.ports import free_ports
from imex.local.process import Launch, Part, Probe, StartFailed, write_private

VERSION = "4.3.1"
ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True)
class KafkaConfig:
    """Where a broker keeps its things and who may sign in.

    `users` maps names to passwords and must contain `admin`, the super user. They are created when the
    data directory is formatted. An empty mapping makes a broker without authentication.
    """

    data: Path
    log: Path
    port: int
    controller_port: int
    users: Mapping[str, str]
    heap_mb: int = 512


def jars() -> Path:
    """The directory with Kafka's jars, fetched by Maven at the first call."""

    def build(target: Path) -> None:
        pom = Path(__file__).with_name("kafka.pom.xml")
        goal = "dependency:copy-dependencies"
        argv = [
            tool("mvn", "maven"),
            *("-B", "-q", "-f", str(pom), goal, "-DincludeScope=runtime", f"-DoutputDirectory={target}"),
        ]
        run_shown(f"fetching Apache Kafka {VERSION} (92 jars, 54 MB)", argv)

    return cached(f"kafka-{VERSION}", build)


def class_archive() -> Path | None:
    """Kafka's classes as this Java has parsed them, which halves its start; made once by a broker of its own.

    None where this Java can not make one: Kafka then starts as it always does.
    """
    java = tool("java", "default-jre-headless")
    version = subprocess.run([java, "-version"], capture_output=True, check=False).stderr
    name = f"kafka-{VERSION}-{sha256(version).hexdigest()[:12]}.jsa"
    jars()

    def build(target: Path) -> None:
        print("  preparing Kafka's quick start (about 15 s, once) …", file=sys.stderr, flush=True)
        port, controller = free_ports(2)
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch)
            config = KafkaConfig(data, data / "kafka.log", port, controller, {ADMIN: uuid.uuid4().hex})
            launch = _launch(config, f"-XX:ArchiveClassesAtExit={target}")
            part = Part(replace(launch, stop_within_s=120.0))
            part.start()
            part.stop()
        if not target.exists():
            raise PartUnavailable("this Java makes no class archive")

    try:
        return cached(name, build)
    except (PartUnavailable, StartFailed):
        return None


def prepare(config: KafkaConfig) -> Launch:
    """Write the configuration, format the data directory when it is new, and say how to start it.

    Raises `PartUnavailable` when Java is missing or formatting fails.
    """
    archive = class_archive()
    return _launch(config, *([] if archive is None else [f"-XX:SharedArchiveFile={archive}"]))


def _launch(config: KafkaConfig, *options: str) -> Launch:
    java = tool("java", "default-jre-headless")
    config.data.mkdir(parents=True, exist_ok=True)
    properties = config.data / "server.properties"
    write_private(properties, server_properties(config))
    classpath = f"{jars()}/*"
    if not (config.data / "log" / "meta.properties").exists():
        _format(java, classpath, properties, config)
    return Launch(
        name="kafka",
        argv=(
            java,
            *options,
            f"-Xms{config.heap_mb}m",
            f"-Xmx{config.heap_mb}m",
            # The second compiler pays off after minutes only: without it a restart costs 2.3 s of CPU, not
            # 5.1, and the first 20,000 records less than half.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            *_logging(),
            *("-cp", classpath, "kafka.Kafka", str(properties)),
        ),
        probe=Probe("tcp", f"127.0.0.1:{config.port}"),
        cwd=config.data,
        log=config.log,
        stop_within_s=20.0,
    )


def _logging() -> tuple[str, ...]:
    simple = "-Dorg.slf4j.simpleLogger"
    return (
        f"{simple}.defaultLogLevel=warn",
        f"{simple}.showDateTime=true",
        f"{simple}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        f"{simple}.log.kafka.server.KafkaRaftServer=info",
        f"{simple}.log.org.apache.kafka.common.utils.AppInfoParser=info",
    )


def _format(java: str, classpath: str, properties: Path, config: KafkaConfig) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    users = [
        part
        for name, password in config.users.items()
        for part in ("--add-scram", f"{MECHANISM}=[name={name},password={password}]")
    ]
    result = subprocess.run(
        [
            *(java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"),
            *("-cp", classpath, "kafka.tools.StorageTool", "format"),
            # in one word with its option: an id may begin with a dash, and would be read as another option
            f"--cluster-id={cluster}",
            *("-c", str(properties), *users),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise PartUnavailable(f"Kafka's storage could not be formatted: {result.stderr.strip()[-500:]}")


def server_properties(config: KafkaConfig) -> str:
    """The broker's settings: one node, loopback only, small, and quick to come back after a crash."""
    secured = bool(config.users)
    protocol = "SASL_PLAINTEXT" if secured else "PLAINTEXT"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{config.controller_port}",
        "listeners": f"CLIENT://127.0.0.1:{config.port},CONTROLLER://127.0.0.1:{config.controller_port}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{config.port}",
        "listener.security.protocol.map": f"CONTROLLER:{protocol},CLIENT:{protocol}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        "log.dirs": str(config.data / "log"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that died can not register again before its old session has ended: 9 s by default.
        "broker.heartbeat.interval.ms": "400",
        "broker.session.timeout.ms": "2000",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": "16777216",
        "log.segment.bytes": "134217728",
        # Preallocated index files of 10 MB for each of ~150 partitions would fill a small disk.
        "log.index.size.max.bytes": "1048576",
    }
    if secured:
        settings |= _sasl(config.users[ADMIN])
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _sasl(password: str) -> dict[str, str]:
    modules = "org.apache.kafka.common.security"
    sign_in = f'required username="{ADMIN}" password="{password}"'
    return {
        "sasl.enabled.mechanisms": MECHANISM,
        "sasl.mechanism.inter.broker.protocol": MECHANISM,
        "listener.name.client.scram-sha-512.sasl.jaas.config": (
            f"{modules}.scram.ScramLoginModule {sign_in};"
        ),
        # The controller can not check SCRAM before it has read its own log, so it has a password of its own.
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": (
            f'{modules}.plain.PlainLoginModule {sign_in} user_{ADMIN}="{password}";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN}",
        "allow.everyone.if.no.acl.found": "false",
    }
