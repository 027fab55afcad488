"""`imex receipts`: getting a receipt, and checking one without a stack."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from imex.cli.failure import Failure
from imex.cli.output import AsJson, print_facts, print_json

_SHOWN = 20
_FETCH_S = 10.0


def build() -> typer.Typer:
    """The sub-commands."""
    app = typer.Typer(help="Signed receipts of what was delivered.", no_args_is_help=True)
    app.command("get", help="Print a share's newest receipt as it was signed.")(get)
    app.command("verify", help="Check a receipt's signature, and files against it; needs no stack.")(verify)
    return app


def get(share: Annotated[str, typer.Argument(metavar="SHARE", help="Id of a share.")]) -> None:
    """Print a share's newest receipt as it was signed."""
    from imex.cli.client import Api, segment

    with Api() as api:
        print_json(api.get(f"/shares/{segment(share)}/receipt"))


def verify(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A receipt as the API gives it; - for stdin.")],
    *,
    key: Annotated[Path | None, typer.Option("--key", help="The published key: JWK, JWKS or PEM.")] = None,
    jwks: Annotated[
        str | None, typer.Option("--jwks", metavar="URL", help="Where keys are published: …/api/v1/keys.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option("--files", help="A folder of DICOM files: are these what it lists?")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a receipt's signature, and files against it. Exit code 1 when something does not hold."""
    from imex.receipts.files import compare
    from imex.receipts.signature import KeyUnknown, ReceiptForged, key_of
    from imex.receipts.signature import verify as verify_signature

    receipt = _read(file)
    signature = str(receipt.pop("signature"))
    try:
        signed_with = key_of(signature, _keys(key, jwks))
        verify_signature(receipt, signature, signed_with)
    except (ReceiptForged, KeyUnknown) as error:
        raise Failure(f"The receipt does not hold: {error}.") from None
    told = _told(receipt, str(signed_with["kid"]) if "kid" in signed_with else _thumbprint(signed_with))
    if files is not None:
        if not files.is_dir():
            raise Failure(f"{files} is no folder.")
        found = compare(receipt["instances"], files)
        told["files"] = {
            "as_received": len(found.as_received),
            "as_sent": len(found.as_sent),
            "missing": found.missing,
            "not_listed": [str(path) for path in found.strangers],
            "no_dicom": [str(path) for path in found.unreadable],
        }
        if not found.holds:
            _print(told, as_json)
            raise Failure(
                f"The signature holds; {len(found.missing)} of the confirmed instances are not in {files}:",
                *found.missing[:_SHOWN],
            )
    _print(told, as_json)


def _read(file: str) -> dict[str, Any]:
    import sys

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        receipt = json.loads(text)
    except (OSError, ValueError) as error:
        raise Failure(f"{file} cannot be read as a receipt: {error}.") from None
    if not isinstance(receipt, dict) or not isinstance(receipt.get("signature"), str):
        raise Failure(f"{file} is no receipt: it has no signature. Take what /shares/ID/receipt answers.")
    if not isinstance(receipt.get("instances"), list):
        raise Failure(f"{file} is no receipt: it lists no instances.")
    return receipt


def _keys(file: Path | None, url: str | None) -> list[dict[str, Any]]:
    if (file is None) == (url is None):
        raise Failure(
            "Say which key you trust: --key FILE, or --jwks URL (an exchange publishes its keys at"
            " /api/v1/keys). A key inside the receipt proves nothing."
        )
    if url is not None:
        return _of_set(_fetched(url), url)
    assert file is not None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failure(f"{file} cannot be read: {error}.") from None
    if "BEGIN PUBLIC KEY" in text:
        from joserfc.jwk import OKPKey

        return [dict(OKPKey.import_key(text).as_dict(private=False))]
    try:
        return _of_set(json.loads(text), str(file))
    except ValueError:
        raise Failure(f"{file} is neither JSON nor PEM.") from None


def _fetched(url: str) -> Any:
    import httpx2

    try:
        answer = httpx2.get(url, timeout=_FETCH_S)
        answer.raise_for_status()
        return answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise Failure(f"The keys at {url} cannot be read: {error}.") from None


def _of_set(found: Any, where: str) -> list[dict[str, Any]]:
    keys = found.get("keys", [found]) if isinstance(found, dict) else []
    usable = [one for one in keys if isinstance(one, dict) and one.get("crv") == "Ed25519"]
    if not usable:
        raise Failure(f"{where} has no Ed25519 key.")
    return usable


def _thumbprint(key: Mapping[str, Any]) -> str:
    from joserfc.jwk import OKPKey

    return OKPKey.import_key(dict(key)).thumbprint()


def _told(receipt: Mapping[str, Any], kid: str) -> dict[str, Any]:
    by_status: dict[str, int] = {}
    for one in receipt["instances"]:
        by_status[one["status"]] = by_status.get(one["status"], 0) + 1
    return {
        "signature": "holds",
        "key": kid,
        "share": receipt["share"],
        "revision": receipt["revision"],
        "destination": receipt["destination"],
        "complete": receipt["complete"],
        "instances": by_status,
    }


def _print(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        print_facts(told)
