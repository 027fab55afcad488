"""The chart and the compose file, judged by the tools that read them."""

import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from imex.events import SERVICES
from imex.local.cache import cached, run_shown

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/imex"
KUBERNETES = ("1.29", "1.34")

requires_go = pytest.mark.skipif(
    shutil.which("go") is None, reason="helm and compose's loader are built by Go"
)


def _go_install(module: str) -> str:
    name = module.rsplit("/", 1)[1].split("@", maxsplit=1)[0]

    def build(target: Path) -> None:
        run_shown(f"building {name}", ["go", "install", module], {"GOBIN": str(target.parent)})

    return str(cached(f"bin/{name}", build))


@pytest.fixture(scope="session")
def helm() -> str:
    return shutil.which("helm") or _go_install("helm.sh/helm/v3/cmd/helm@v3.22.0")


@pytest.fixture(scope="session")
def compose_loader() -> str:
    source = ROOT / "deploy/compose/check"

    def build(target: Path) -> None:
        run_shown("building compose's loader", ["go", "build", "-C", str(source), "-o", str(target), "."])

    return str(cached("bin/compose-check-2.9.0", build))


def rendered(helm: str, version: str, *options: str) -> list[dict]:  # type: ignore[type-arg]
    done = subprocess.run(
        [helm, "template", "imex", str(CHART), "--kube-version", version, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@requires_go
def test_helm_lints_the_chart_strictly(helm: str) -> None:
    done = subprocess.run([helm, "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@requires_go
@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--set", "portal.ingress.enabled=true", "--set", "portal.ingress.tlsSecret=tls"),
        ("--set", "kafka.tls.secret=ca", "--set", "dicom.service.type=ClusterIP"),
        ("--set", "services.ingest.replicas=1", "--set", "networkPolicy.enabled=false"),
        ("--set", "dicom.plain.enabled=true", "--set", "dicom.proxyNetworks={10.0.0.0/8,2001:db8::/32}"),
        ("--set", "dicom.plain.enabled=true", "--set", "dicom.tls.enabled=false"),
        ("--set", "query.enabled=true", "--set", "query.plain.enabled=true"),
        ("--set", "commitments.tls.enabled=true,commitments.plain.enabled=true,delivery.tls.secret=files"),
    ],
    ids=["defaults", "ingress", "kafka-tls", "small", "both-ports", "plain", "queries", "commitments"],
)
def test_every_manifest_is_valid_for_kubernetes(helm: str, version: str, options: tuple[str, ...]) -> None:
    manifests = rendered(helm, version, *options)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


@requires_go
def test_the_chart_runs_every_service_and_each_with_only_its_own_secrets(helm: str) -> None:
    manifests = rendered(helm, "1.34")
    workloads = {
        manifest["metadata"]["labels"]["app.kubernetes.io/component"]: manifest["spec"]["template"]["spec"]
        for manifest in manifests
        if manifest["kind"] in ("Deployment", "StatefulSet")
    }
    assert set(workloads) == set(SERVICES)
    for name, pod in workloads.items():
        (container,) = pod["containers"]
        assert container["args"] == [name]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert pod["securityContext"]["runAsNonRoot"]
        secrets = {
            entry["valueFrom"]["secretKeyRef"]["name"]
            for entry in container["env"]
            if "secretKeyRef" in entry.get("valueFrom", {})
        }
        others = {f"imex-{service}" for service in SERVICES if service != name}
        assert not secrets & others


@requires_go
def test_the_plain_dicom_port_is_off_unless_it_is_enabled(helm: str) -> None:
    for options, ports in (
        ((), {"dicom-tls"}),
        (("--set", "dicom.plain.enabled=true"), {"dicom-tls", "dicom"}),
    ):
        manifests = {
            (each["kind"], each["metadata"]["name"]): each for each in rendered(helm, "1.34", *options)
        }
        service = manifests["Service", "imex-dicom"]
        assert {port["name"] for port in service["spec"]["ports"]} == ports
        (container,) = manifests["Deployment", "imex-ingest"]["spec"]["template"]["spec"]["containers"]
        assert {port["name"] for port in container["ports"]} == ports | {"http", "stow"}
        named = {entry["name"] for entry in container["env"]}
        assert ("IMEX_DICOM_PORT" in named) is ("dicom" in ports)
        assert "IMEX_DICOM_TLS_CERTIFICATE" in named


@requires_go
def test_ports_for_queries_are_off_unless_they_are_enabled(helm: str) -> None:
    for options, ports in (
        ((), set()),
        (("--set", "query.enabled=true"), {"query-tls"}),
        (("--set", "query.enabled=true", "--set", "query.plain.enabled=true"), {"query-tls", "query"}),
    ):
        manifests = {
            (each["kind"], each["metadata"]["name"]): each for each in rendered(helm, "1.34", *options)
        }
        service = manifests.get(("Service", "imex-query"))
        assert {port["name"] for port in (service["spec"]["ports"] if service else ())} == ports
        (container,) = manifests["Deployment", "imex-portal"]["spec"]["template"]["spec"]["containers"]
        assert {port["name"] for port in container["ports"]} == ports | {"http"}
        named = {entry["name"] for entry in container["env"]}
        assert ("IMEX_PORTAL_DICOM_PORT" in named) is ("query" in ports)
        assert ("IMEX_PORTAL_DICOM_TLS_CERTIFICATE" in named) is bool(ports)


@requires_go
def test_ports_for_reports_of_commitments_are_off_unless_they_are_enabled(helm: str) -> None:
    secured = "commitments.tls.enabled=true,delivery.tls.secret=files"
    for options, ports in (
        ((), set()),
        (("--set", "delivery.tls.secret=files"), set()),
        (("--set", secured), {"commitments-tls"}),
        (("--set", "commitments.plain.enabled=true"), {"commitments"}),
    ):
        manifests = {
            (each["kind"], each["metadata"]["name"]): each for each in rendered(helm, "1.34", *options)
        }
        service = manifests.get(("Service", "imex-commitments"))
        assert {port["name"] for port in (service["spec"]["ports"] if service else ())} == ports
        (container,) = manifests["StatefulSet", "imex-delivery"]["spec"]["template"]["spec"]["containers"]
        assert {port["name"] for port in container["ports"]} == ports | {"http"}
        named = {entry["name"] for entry in container["env"]}
        assert ("IMEX_DELIVERY_COMMITMENT_PORT" in named) is ("commitments" in ports)
        assert ("IMEX_DELIVERY_COMMITMENT_TLS_PORT" in named) is ("commitments-tls" in ports)
        assert ("IMEX_DELIVERY_TLS_CERTIFICATE" in named) is any("files" in one for one in options)
    done = subprocess.run(
        [helm, "template", "imex", str(CHART), "--set", "commitments.tls.enabled=true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "secret" in done.stderr


@requires_go
def test_a_chart_without_a_dicom_port_is_refused(helm: str) -> None:
    done = subprocess.run(
        [helm, "template", "imex", str(CHART), "--set", "dicom.tls.enabled=false"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "/dicom" in done.stderr


@requires_go
def test_values_that_make_no_sense_are_refused_by_name(helm: str) -> None:
    done = subprocess.run(
        [helm, "template", "imex", str(CHART), "--kube-version", "1.34", "--set", "traces.exporter=pigeon"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "/traces/exporter" in done.stderr


@requires_go
def test_composes_own_loader_accepts_the_compose_file(compose_loader: str, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    made = subprocess.run(
        [sys.executable, str(ROOT / "deploy/compose/make_env.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    environment.write_text(made.stdout)
    done = subprocess.run(
        [compose_loader, str(ROOT / "docker-compose.yml"), str(environment)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {*SERVICES, "kafka", "minio", "postgres", "zipkin", "setup"}


@requires_go
def test_the_compose_file_starts_nothing_without_credentials(compose_loader: str, tmp_path: Path) -> None:
    empty = tmp_path / "env"
    empty.write_text("")
    done = subprocess.run(
        [compose_loader, str(ROOT / "docker-compose.yml"), str(empty)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "required variable" in done.stderr
