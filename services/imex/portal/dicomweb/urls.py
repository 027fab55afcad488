"""Where things are retrieved from, as answers say it."""

from fastapi import Request

from imex.portal.context import Portal
from imex.portal.queries.holdings import HeldInstance

PREFIX = "/dicom-web"


def base_url(request: Request, portal: Portal) -> str:
    """The base that the caller used; behind a proxy that ends TLS it is HTTPS all the same."""
    scheme = request.url.scheme if portal.settings.local else "https"
    return f"{scheme}://{request.url.netloc}{PREFIX}"


def series_url(base: str, study: str, series: str) -> str:
    """Of a series."""
    return f"{base}/studies/{study}/series/{series}"


def instance_url(base: str, study: str, series: str, instance: str) -> str:
    """Of an instance."""
    return f"{series_url(base, study, series)}/instances/{instance}"


def location(held: HeldInstance) -> str:
    """Of an instance, from the base on: what a part of an answer says of itself."""
    return instance_url("", held.study_uid, held.series_uid, held.sop_instance_uid).lstrip("/")
