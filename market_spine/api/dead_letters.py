"""Dead letters: sessions whose last try failed, and what is done about each.

Belongs here: the routes and their parameters. Does not belong here: the rules (``ledger.dead_letters``).
"""

import re
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from market_spine.api import cursors, negotiation, pages
from market_spine.api.auth import may_operate
from market_spine.api.bodies import Body, done, encoded
from market_spine.api.context import context_of
from market_spine.api.executions import JSON_ONLY, LARGEST_PAGE, LAST_NUMBER, PAGE, PATH, Lane
from market_spine.api.parameters import Flag, Query, Whole
from market_spine.api.problems import Problem
from market_spine.ledger.dead_letters import Letter

NAME = "dead-letters"
NUMBER = re.compile(r"[1-9][0-9]{0,9}")
ID_PARAMETER: dict[str, Any] = {
    "name": "id", "in": "path", "required": True, "description": "Number of the dead letter.",
    "schema": {"type": "integer", "minimum": 1, "maximum": LAST_NUMBER}, "example": 3,
}  # fmt: skip
# Something to see, said without \S: what counts as a blank there differs between Python and the readers of an OpenAPI.
VISIBLE = r"[^\x00-\x20\x7f-\xa0\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff]"
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=VISIBLE)]
router = APIRouter(tags=["Dead letters"])
writes = APIRouter(tags=["Dead letters"], dependencies=[Depends(may_operate)])


class LettersQuery(Query):
    """The query string of the list."""

    all: Flag = Field(False, description="`true`: resolved ones too.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before, as it is.")
    limit: Whole = Field(PAGE, ge=1, le=LARGEST_PAGE, description="Letters of a page.")


class RetryBody(Body):
    """How it is to be retried."""

    lane: Lane = Field("normal", description="Lane of the new execution.")
    force: bool = Field(False, description="Also where it was retried MARKET_SPINE_DEAD_LETTER_RETRIES times.")


class DiscardBody(Body):
    """Who decides it, and why."""

    by: Text = Field(description="Who decides it.", examples=["ann"])
    why: Text = Field(description="For those who look at it later.", examples=["the vendor sends no file that day"])


@router.get("/dead-letters", summary="Dead letters", openapi_extra=LettersQuery.documented(NAME))
async def letters(request: Request) -> Response:
    """Open dead letters, the oldest session first."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    asked = LettersQuery.of(request)
    behind = None
    if asked.cursor is not None:
        behind = tuple(cursors.read(asked.cursor, NAME, (date, str, int)))
    access = context_of(request).ledger
    everything = await access.read(lambda: access.dead_letters.letters(every=asked.all))
    found = [one for one in everything if behind is None or (one.partition, one.asset, one.id) > behind]
    shown = found[: asked.limit]
    cursor = None
    if len(found) > asked.limit:
        cursor = cursors.write(NAME, [str(shown[-1].partition), shown[-1].asset, shown[-1].id])
    return pages.tagged(request, encoded({"data": [_row(one) for one in shown], "next_cursor": cursor}))


@router.get("/dead-letters/{id}", summary="A dead letter", openapi_extra={"parameters": [ID_PARAMETER]})
async def letter(request: Request) -> Response:
    """Why, the last runs and files of its session, and the command that mends it."""
    negotiation.chosen(request.headers.get("accept", ""), JSON_ONLY)
    Query.of(request)
    number = _number(request)
    access = context_of(request).ledger

    def read() -> dict[str, Any]:
        found = access.dead_letters.letter(number)
        runs, files = access.dead_letters.runs(found), access.dead_letters.files(found)
        return {**_row(found), "runs": runs, "files": files}

    return pages.tagged(request, encoded(await access.read(read)))


@writes.post(
    "/dead-letters/{id}/retry",
    summary="Retry a dead letter",
    status_code=202,
    openapi_extra={
        "parameters": [ID_PARAMETER],
        **RetryBody.documented(required=False, plain={}, force={"force": True}),
    },
)
async def retry(request: Request) -> Response:
    """Queues a new execution of the session, from the asset that failed down; its success resolves the letter."""
    Query.of(request)
    number = _number(request)
    asked = await RetryBody.of(request)
    access = context_of(request).ledger
    limit = access.settings.dead_letter_retries

    def hand_in() -> str:
        return access.dead_letters.retry(number, access.desk, limit=limit, force=asked.force, lane=asked.lane)

    run_id = await access.order(hand_in)
    return done({"id": run_id}, status=202, location=f"{PATH}/{run_id}")


@writes.post(
    "/dead-letters/{id}/discard",
    summary="Discard a dead letter",
    openapi_extra={
        "parameters": [ID_PARAMETER],
        **DiscardBody.documented(required=True, usual={"by": "ann", "why": "the vendor sends no file that day"}),
    },
)
async def discard(request: Request) -> Response:
    """Closes an open letter by hand."""
    Query.of(request)
    number = _number(request)
    asked = await DiscardBody.of(request)
    access = context_of(request).ledger
    return done(_row(await access.order(lambda: access.dead_letters.discard(number, by=asked.by, why=asked.why))))


def _row(one: Letter) -> dict[str, Any]:
    return {"state": one.state, **asdict(one), "mend": one.mend or None}


def _number(request: Request) -> int:
    text = str(request.path_params["id"])
    if not NUMBER.fullmatch(text) or int(text) > LAST_NUMBER:
        raise Problem("not_found", f"there is no dead letter {text!r}")
    return int(text)
