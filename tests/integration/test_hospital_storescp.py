"""The receiving hospital of the demonstration where there is no Orthanc."""

import subprocess
from pathlib import Path

import pytest

from imex.local.hospital import AE_TITLE, StoreScp
from imex.local.ports import free_ports
from imex.local.process import Part
from imex.local.programs import dcmtk
from imex.testing.dicom import synthetic_study


def test_it_says_what_it_holds_of_a_study(tmp_path: Path) -> None:
    storescp, dcmsend = (dcmtk(name) for name in ("storescp", "dcmsend"))
    if storescp is None or dcmsend is None:
        pytest.skip("DCMTK is not installed")
    [port] = free_ports(1)
    hospital = StoreScp(storescp, tmp_path / "held", tmp_path / "log", port)
    sent, other = synthetic_study(3, size=32), synthetic_study(2, size=32)
    files = [*sent.write(tmp_path / "sent"), *other.write(tmp_path / "other")]
    part = Part(hospital.launch)
    part.start()
    try:
        argv = [dcmsend, "-aec", AE_TITLE, "127.0.0.1", str(port), *map(str, files)]
        subprocess.run(argv, check=True, capture_output=True)
    finally:
        part.stop()

    assert hospital.held(sent.study_uid) == sent.digests
    assert hospital.held(other.study_uid) == other.digests
