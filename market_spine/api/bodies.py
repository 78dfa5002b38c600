"""Bodies of requests: small JSON objects, read strictly.

Belongs here: reading and documenting one. Does not belong here: what a route does with it.
"""

import json
from typing import Any, Self

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response

from market_spine.api import negotiation
from market_spine.api.problems import Problem

MOST_BYTES = 64 * 1024


class Body(BaseModel):
    """An object without members that nobody knows; text is never taken for a number or the other way round."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    async def of(cls, request: Request) -> Self:
        """The body of a request; none at all is an empty object.

        Raises:
            Problem: it is no JSON, is too large, or has a member that cannot be; names the first one.
        """
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MOST_BYTES:
                raise Problem("body_too_large", f"a body may have {MOST_BYTES} bytes")
        if raw and request.headers.get("content-type", "").partition(";")[0].strip().lower() != negotiation.JSON:
            raise Problem("unsupported_media_type", f"send the body as Content-Type: {negotiation.JSON}")
        try:
            values = json.loads(bytes(raw).decode()) if raw else {}
        except (ValueError, RecursionError) as error:
            raise Problem("bad_request", f"the body is no JSON: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise Problem("bad_request", "the body has to be a JSON object")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise cls._problem(error) from error

    @classmethod
    def documented(cls, *, required: bool, **examples: dict[str, Any]) -> dict[str, Any]:
        """The body for the OpenAPI: part of ``openapi_extra`` of a route."""
        content = {"schema": cls.model_json_schema()}
        if examples:
            content["examples"] = {name: {"value": value} for name, value in examples.items()}
        return {"requestBody": {"required": required, "content": {negotiation.JSON: content}}}

    @classmethod
    def _problem(cls, error: ValidationError) -> Problem:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            there = ", ".join(cls.model_fields)
            return Problem("unknown_parameter", f"no member is named {name!r} here; there are {there}", field=name)
        return Problem("invalid_parameter", f"{name}: {first['msg'].removeprefix('Value error, ')}", field=name)


def encoded(value: object) -> bytes:
    """JSON of plain values, dates and moments among them."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain).encode(
        "utf-8", errors="replace"
    )


def done(value: object, *, status: int = 200, location: str = "", **headers: str) -> Response:
    """The answer to a write: never kept by anybody."""
    more = {name.replace("_", "-").title(): text for name, text in headers.items()}
    if location:
        more["Location"] = location
    return Response(
        encoded(value),
        status_code=status,
        media_type=negotiation.JSON,
        headers={"Cache-Control": "no-store", **more},
    )


def _plain(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
