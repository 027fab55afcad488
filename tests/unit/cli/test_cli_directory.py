"""`imex directory`: check offline, compare and apply against the server, export what apply takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from imex.directory import digest, parse, to_yaml
from imex.directory.document import canonical

FILE = """\
institutions:
  - {code: RQM, name: Hospital A, kind: nhs, senders: [{ae_title: RQM_PACS}]}
  - code: RT3
    name: Hospital B
    kind: nhs
    endpoints: [{name: pacs, type: dicom, ae_title: RT3_PACS, host: 127.0.0.1, port: 4243}]
agreements:
  - {id: a1, from: RQM, to: RT3, purposes: direct-care, legal_basis: UK GDPR 6(1)(e)}
rules:
  - {id: r1, match: {source: RQM, modality: CT}, to: RT3}
"""
CHANGED = FILE.replace("port: 4243", "port: 4244")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "directory.yaml"
    path.write_text(FILE)
    return path


def serve(api: Any, text: str = FILE) -> str:
    directory = parse(text)
    version = digest(directory)

    def answer(asked: Any) -> Any:
        as_json = asked.headers["accept"] == "application/json"
        return api.reply(canonical(directory).decode() if as_json else text, headers={"ETag": f'"{version}"'})

    api.on("GET", "/directory", answer)
    return version


def test_check_needs_no_stack(run: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMEX_HOME", "/nonexistent")
    result = run("directory", "check", str(file))
    assert result.code == 0
    assert "2 institutions" in result.out
    assert digest(parse(FILE)) in result.out


def test_check_names_line_and_field_of_every_error(run: Any, file: Path) -> None:
    file.write_text(FILE.replace("port: 4243", "port: x").replace("to: RT3}\n", "to: RT4}\n", 1))
    result = run("directory", "check", str(file))
    assert result.code == 1
    assert not result.out
    assert "line 6: institutions[1].endpoints[0].port: must be a whole number" in result.err


def test_check_warns_of_what_lets_nothing_through(run: Any, file: Path) -> None:
    file.write_text(FILE.replace("legal_basis", "valid_until: 2024-12-31, legal_basis"))
    result = run("directory", "check", str(file))
    assert result.code == 0
    assert "is valid: 2 institutions" in result.out
    assert result.err.splitlines() == [
        "warning: line 8: agreements[0].valid_until: has ended on 2024-12-31: it lets nothing through",
        "warning: line 10: rules[0].to[0]: no agreement covers RQM to RT3 for direct-care: "
        "agreement a1 ended on 2024-12-31",
    ]
    told = run("directory", "check", str(file), "--json").json
    assert [(one["line"], one["field"]) for one in told["warnings"]] == [
        (8, "agreements[0].valid_until"),
        (10, "rules[0].to[0]"),
    ]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), (b"a: \xff", "not UTF-8: line 1"), (b"", "is empty")]
)
def test_a_file_that_cannot_be_read_is_told(
    run: Any, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    result = run("directory", "check", str(path))
    assert result.code == 1
    assert words in result.err


def test_diff_says_what_apply_would_change(run: Any, api: Any, file: Path) -> None:
    version = serve(api)
    assert run("directory", "diff", str(file)).out == "No change.\n"
    file.write_text(CHANGED)
    assert (
        "changed institutions.RT3.endpoints.pacs.port: 4243 → 4244" in run("directory", "diff", str(file)).out
    )
    told = run("directory", "diff", str(file), "--json").json
    assert told["base"] == version
    assert [one["path"] for one in told["items"]] == ["institutions.RT3.endpoints.pacs.port"]


def test_apply_names_the_version_it_was_made_from(run: Any, api: Any, file: Path) -> None:
    version = serve(api)
    file.write_text(CHANGED)
    api.on("PUT", "/directory", api.reply({"number": 2, "version": "new", "changed": True}))
    result = run("directory", "apply", str(file))
    assert result.code == 0
    assert "4243 → 4244" in result.out
    assert "Version new is in force." in result.out
    put = api.asked[-1]
    assert put.headers["if-match"] == f'"{version}"'
    assert put.headers["authorization"] == "Bearer t-admin"
    assert put.body.decode() == CHANGED


def test_apply_on_a_stale_base_is_refused_in_the_servers_words(run: Any, api: Any, file: Path) -> None:
    serve(api)
    problem = {"title": "Stale base version", "status": 412, "detail": "Read it again."}
    api.on("PUT", "/directory", api.reply(problem, 412))
    result = run("directory", "apply", str(file), "--base", "older")
    assert result.code == 1
    assert "Stale base version: Read it again." in result.err
    assert api.asked[-1].headers["if-match"] == '"older"'


def test_an_invalid_file_is_never_sent(run: Any, api: Any, file: Path) -> None:
    file.write_text("rules: [{id: r1}]")
    assert run("directory", "apply", str(file)).code == 1
    assert not api.asked


def test_apply_keeps_stack_json_up_to_date(
    run: Any, api: Any, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "stack.json").write_text(json.dumps({"api": api.base, "tokens": {"admin": "t-admin"}}))
    monkeypatch.setenv("IMEX_HOME", str(home))
    monkeypatch.delenv("IMEX_API")
    monkeypatch.delenv("IMEX_TOKEN")
    refreshed: list[Path] = []
    monkeypatch.setattr("imex.local.credentials.refresh", lambda at: refreshed.append(at.root))
    serve(api)
    api.on("PUT", "/directory", api.reply({"number": 1, "version": "v", "changed": False}))
    result = run("directory", "apply", str(file))
    assert result.code == 0, result.err
    assert "nothing changed" in result.out
    assert refreshed == [home]


def test_export_writes_what_apply_accepts(run: Any, api: Any, tmp_path: Path) -> None:
    exported = to_yaml(parse(FILE))
    serve(api, exported)
    assert run("directory", "export", "-").out == exported
    target = tmp_path / "out.yaml"
    assert run("directory", "export", str(target)).code == 0
    assert parse(target.read_text()) == parse(FILE)


def test_rules_test_says_which_rule_fires_and_what_covers_it(run: Any, file: Path, tmp_path: Path) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(b"", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.Modality = generate_uid(), "CT"
    path = tmp_path / "ct.dcm"
    data.save_as(path, enforce_file_format=True)
    told = run("rules", "test", str(path), "--directory", str(file), "--json").json
    (item,) = told["items"]
    assert (item["rule"], item["matched"]) == ("r1", True)
    (share,) = told["shares"]
    assert (share["action"], share["recipient"], share["agreement"]) == ("share", "RT3", "a1")
    assert share["agreements"] == [{"agreement": "a1", "covers": True, "lacking": []}]
    told_words = run("rules", "test", str(path), "--directory", str(file), "--sensitive").out
    assert "RT3 for direct-care (routine, rule r1): REFUSED, no agreement covers" in told_words
    assert "does not include records that are marked as sensitive" in told_words
    returned = run("rules", "test", str(path), "--directory", str(file), "--came-from", "RT3").out
    assert "not sent, it came from RT3 to RQM through Imex" in returned
    words = run("rules", "test", str(path), "--directory", str(file), "--from", "RT3").out
    assert "source RT3 is not RQM" in words
    assert "No rule would fire" in words
    (tmp_path / "no.dcm").write_text("not DICOM")
    refused = run("rules", "test", str(tmp_path / "no.dcm"), "--directory", str(file))
    assert refused.code == 1
    assert "is no DICOM file" in refused.err
