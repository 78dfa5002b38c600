"""Parameters that several routes share, and how their text is read.

What it is: types for pydantic models of query strings. They are strict: a date is ``2026-03-04`` and nothing else,
where pydantic alone would take ``17`` for a day of 1970.
Belongs here: reading and documenting one value. Does not belong here: what a route does with it.
"""

import re
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Self, get_origin
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from market_spine.api.problems import Problem

SYMBOL = r"[A-Za-z0-9][A-Za-z0-9./-]{0,14}"
"""A well-formed symbol: what is anything else stands in quarantine (docs/semantics.md)."""
SYMBOLS = rf"^{SYMBOL}(,{SYMBOL})*$"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FRACTION = re.compile(r"(\.[0-9]{6})[0-9]+")
MOST_SYMBOLS = 1000
PAGE, LARGEST_PAGE = 1000, 10_000


def _day(value: object) -> object:
    if isinstance(value, str):
        if not _DAY.fullmatch(value):
            raise ValueError(f"{value!r} is no day; write 2026-03-04")
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no day of the calendar") from None
    return value


def _given_day(value: object) -> object:
    if value is None:
        raise ValueError("null is no day; leave it out")
    return _day(value)


def _moment(value: object) -> object:
    if isinstance(value, str):
        # a plus in a query string is a space until somebody encodes it
        text = re.sub(r" ([0-9]{2}:[0-9]{2})$", r"+\1", value)
        if not _MOMENT.fullmatch(text):
            raise ValueError(f"{value!r} is no moment; write 2026-03-10T12:00:00Z")
        try:
            return datetime.fromisoformat(_FRACTION.sub(r"\1", text).upper())
        except ValueError:
            raise ValueError(f"{value!r} is no moment of the calendar") from None
    return value


def _flag(value: object) -> object:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError(f"{value!r} is neither true nor false")
        return value == "true"
    return value


def _number(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError(f"{value!r} is no whole number")
    return value


_OF_VALUE = ("type", "items", "enum", "pattern", "format", "default", "minimum", "maximum", "maxItems", "maxLength")

Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
DayOrAbsent = Annotated[date | None, BeforeValidator(_given_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A member of a body that may be left out; null is no day either."""
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Flag = Annotated[bool, BeforeValidator(_flag)]
WHOLE = BeforeValidator(_number)
Whole = Annotated[int, WHOLE]
Symbol = Annotated[str, Field(pattern=rf"^{SYMBOL}$")]
SymbolList = Annotated[str, Field(pattern=SYMBOLS)]


class Query(BaseModel):
    """A query string: a parameter that does not exist is an error, not a wish that is passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def of(cls, request: Request) -> Self:
        """The query string of a request. A tenth of the 0.25 ms that FastAPI's own reading of a model takes.

        Raises:
            Problem: a parameter is unknown, stands twice, or has a value it cannot have; names the first one.
        """
        values: dict[str, str | list[str]] = {}
        for name, value in parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True):
            given = values.get(name)
            if isinstance(given, list):
                given.append(value)
            elif name in cls._lists():
                values[name] = [value]
            elif given is None:
                values[name] = value
            else:
                raise Problem("invalid_parameter", f"{name}: it stands there twice", field=name)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise cls._problem(error) from error

    @classmethod
    def documented(cls, route: str) -> dict[str, Any]:
        """The parameters for the OpenAPI: ``openapi_extra`` of a route, whose name is the format of its cursors."""
        schema = cls.model_json_schema()
        parameters = []
        for name, found in schema["properties"].items():
            shape = next((kind for kind in found.get("anyOf", ()) if kind != {"type": "null"}), None)
            of_value = {key: value for key, value in found.items() if key in _OF_VALUE} | (shape or {})
            if of_value.get("default", ...) in (None, []):
                del of_value["default"]
            if name == "cursor":
                of_value["format"] = f"{route}-cursor"
            required = name in schema.get("required", ())
            parameter = {"name": name, "in": "query", "required": required, "schema": of_value}
            if "description" in found:
                parameter["description"] = found["description"]
            if "examples" in found:
                parameter["example"] = found["examples"][0]
            parameters.append(parameter)
        return {"parameters": parameters}

    @classmethod
    @cache
    def _lists(cls) -> frozenset[str]:
        return frozenset(name for name, known in cls.model_fields.items() if get_origin(known.annotation) is list)

    @classmethod
    def _problem(cls, error: ValidationError) -> Problem:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            there = ", ".join(cls.model_fields) or "none at all"
            return Problem("unknown_parameter", f"no parameter is named {name!r} here; there are {there}", field=name)
        return Problem("invalid_parameter", f"{name}: {first['msg'].removeprefix('Value error, ')}", field=name)


class Paged(Query):
    """One that is answered page by page."""

    cursor: str | None = Field(None, description="`next_cursor` of the page before, as it is.")
    limit: Whole = Field(PAGE, ge=1, le=LARGEST_PAGE, description="Rows of a page.")
    count: Flag = Field(False, description="Also count the rows of all pages together; costs a second query.")


def symbols_of(texts: list[str]) -> list[str]:
    """The symbols of a repeated parameter whose values may hold commas, each once."""
    return list(dict.fromkeys(symbol for text in texts for symbol in text.split(",")))
