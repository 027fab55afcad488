"""The annotated field types of the directory: each says in words what it wants."""

import ipaddress
import re
from datetime import time
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from imex.directory.cel import check_expression, check_series_expression
from imex.directory.certificates import normal_form

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,15}")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_PURPOSE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_HOURS = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_MAX_UID = 64
_MAX_HOST = 253
_DAY_MINUTES = 24 * 60


def _code(value: str) -> str:
    if not _CODE.fullmatch(value):
        raise ValueError(
            "must be 1 to 16 letters, digits, '_', '.' or '-', beginning with a letter or digit "
            "(it also serves as a called AE title)"
        )
    return value


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("must be 1 to 64 letters, digits, '_', '.', ':' or '-'")
    return value


def _purpose(value: str) -> str:
    if not _PURPOSE.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and '-', such as 'direct-care'")
    return value


def _ae_title(value: str) -> str:
    value = value.strip(" ")
    if not _AE_TITLE.fullmatch(value):
        raise ValueError("must be 1 to 16 printable ASCII characters without a backslash (PS3.5, VR AE)")
    return value


def _uid(value: str) -> str:
    if len(value) > _MAX_UID or not _UID.fullmatch(value):
        raise ValueError(
            "is no UID: digits and dots, no component with a leading zero, at most 64 characters (PS3.5 9.1)"
        )
    return value


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        labels = value.rstrip(".").split(".")
        if len(value) > _MAX_HOST or not all(_HOST_LABEL.fullmatch(label) for label in labels):
            raise ValueError("must be a host name or an IP address, without port or scheme") from None
        if labels[-1].isdigit():
            raise ValueError("looks like an IP address but is none") from None
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        try:
            proper = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError("must be an address or a network such as 10.1.0.0/16") from error
        raise ValueError(f"has bits set beyond its prefix; did you mean {proper}?") from error


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL, such as https://pacs.example.nhs.uk/dicom-web")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must be the base URL, without query or fragment")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError("has a port that is no number from 1 to 65535") from error
    return value.rstrip("/")


@lru_cache(maxsize=1024)
def parse_hours(value: str) -> tuple[int, int]:
    """Minutes from midnight of opening and closing; closing may lie before opening (over midnight).

    Raises ``ValueError`` in words.
    """
    found = _HOURS.fullmatch(value)
    if not found:
        raise ValueError('must look like "08:00-18:30" (quoted, 24-hour clock)')
    from_hour, from_minute, to_hour, to_minute = (int(part) for part in found.groups())
    opens, closes = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if from_minute > 59 or to_minute > 59 or opens >= _DAY_MINUTES or closes > _DAY_MINUTES:
        raise ValueError("names a time that is none: hours go from 00:00 to 24:00")
    if opens == closes:
        raise ValueError('is never open; for the whole day write "00:00-24:00"')
    return opens, closes


def within_hours(hours: str, at: time) -> bool:
    """Whether a local time of day lies within hours as the directory spells them."""
    opens, closes = parse_hours(hours)
    minute = at.hour * 60 + at.minute
    return opens <= minute < closes if opens < closes else minute >= opens or minute < closes


def _hours(value: str) -> str:
    parse_hours(value)
    return value


def _code_string(value: str) -> str:
    value = value.strip(" ").upper()
    if not _CODE_STRING.fullmatch(value):
        raise ValueError(
            "must be 1 to 16 capital letters, digits, spaces or underscores, such as CT (PS3.5, VR CS)"
        )
    return value


def _text(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters or line breaks")
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _expression(value: str) -> str:
    if problem := check_expression(value):
        raise ValueError(problem)
    return value


def _series_expression(value: str) -> str:
    if problem := check_series_expression(value):
        raise ValueError(problem)
    return value


class OneOrMore:
    """Marks a tuple that may be written as one value; with ``any_word``, "any" leaves it open (None)."""

    def __init__(self, any_word: bool = False) -> None:
        self._any_word = any_word

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._listed, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(schema)
        if self._any_word:
            return {"anyOf": [{"const": "any"}, *many["anyOf"]]}
        return {"anyOf": [many["items"], many]}

    def _listed(self, value: Any) -> Any:
        if self._any_word and value == "any":
            return None
        return [value] if isinstance(value, str) else value


def _like(pattern: re.Pattern[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern.pattern}$"})


Code = Annotated[str, AfterValidator(_code), _like(_CODE)]
Token = Annotated[str, AfterValidator(_token), _like(_TOKEN)]
Purpose = Annotated[str, AfterValidator(_purpose), _like(_PURPOSE)]
AETitle = Annotated[str, AfterValidator(_ae_title), _like(_AE_TITLE)]
Uid = Annotated[str, AfterValidator(_uid), _like(_UID)]
Host = Annotated[str, AfterValidator(_host)]
Network = Annotated[str, AfterValidator(_network)]
Url = Annotated[str, AfterValidator(_url)]
Hours = Annotated[str, AfterValidator(_hours), _like(_HOURS)]
CodeString = Annotated[str, AfterValidator(_code_string)]
Expression = Annotated[str, AfterValidator(_expression)]
SeriesExpression = Annotated[str, AfterValidator(_series_expression)]
Text = Annotated[str, Field(max_length=500), AfterValidator(_text)]
Certificate = Annotated[str, Field(max_length=500), AfterValidator(_text), AfterValidator(normal_form)]

OneOrMoreCodes = Annotated[tuple[Code, ...], Field(min_length=1), OneOrMore()]
Codes = Annotated[tuple[Code, ...], OneOrMore()]
OneOrMoreUids = Annotated[tuple[Uid, ...], Field(min_length=1), OneOrMore()]
OneOrMorePurposes = Annotated[tuple[Purpose, ...], Field(min_length=1), OneOrMore()]
OneOrMoreCodeStrings = Annotated[tuple[CodeString, ...], Field(min_length=1), OneOrMore()]
OneOrMoreTexts = Annotated[tuple[Text, ...], Field(min_length=1), OneOrMore()]
OneOrMoreAETitles = Annotated[tuple[AETitle, ...], Field(min_length=1), OneOrMore()]
AnyOrUids = Annotated[tuple[Uid, ...] | None, OneOrMore(any_word=True)]
