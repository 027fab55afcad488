"""The pages together."""

from fastapi import APIRouter


def pages_router() -> APIRouter:
    """Every page."""
    return APIRouter(include_in_schema=False)
