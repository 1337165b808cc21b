"""Ratings: put, taken back, in batches; and the erasure of a user."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from cofactor.serve import measures, schemas
from cofactor.serve.access import needs, service_of
from cofactor.serve.problems import Refused
from cofactor.serve.routes.common import can_fail, check_scale
from cofactor.serve.schemas import BatchRow, PathId, RatingIn, iso
from cofactor.serve.service import Service
from cofactor.serve.store import ratings, requests
from cofactor.serve.store.ratings import Stored

router = APIRouter(tags=["ratings"])


@router.put("/ratings/{user}/{item}", dependencies=[needs("write")], responses=can_fail(507))
def put_rating(request: Request, user: PathId, item: PathId, given: RatingIn) -> schemas.RatingOut:
    """Store a rating. It counts in the next answer. Of several for the same item the one with the latest time stays."""
    service = service_of(request)
    check_scale(service.registry.latest or service.registry.current(), given.rating)
    return _write(
        service, Stored(user, item, given.rating, given.time if given.time is not None else ratings.now())
    )


@router.delete("/ratings/{user}/{item}", dependencies=[needs("write")], responses=can_fail(404, 507))
def delete_rating(request: Request, user: PathId, item: PathId) -> schemas.RatingOut:
    """Take a rating back. 404 where there is none."""
    service = service_of(request)
    with service.database.read() as connection:
        there = ratings.get(connection, user, item)
    if there is None or there.rating is None:
        raise Refused(404, "There is no such rating.")
    return _write(service, Stored(user, item, None, max(ratings.now(), there.time)))


def _write(service: Service, given: Stored) -> schemas.RatingOut:
    there = service.writer.put(given) or given
    measures.WRITTEN.inc()
    snapshot = service.registry.latest or service.registry.current()
    return schemas.RatingOut(
        user=there.user,
        item=there.item,
        rating=there.rating,
        time=iso(there.time) or "",
        stored=(there.rating, there.time) == (given.rating, given.time),
        known=snapshot.at.get(there.item, snapshot.n_known) < snapshot.n_known,
    )


@router.post(
    "/ratings:batch",
    dependencies=[needs("write")],
    responses=can_fail(507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/x-ndjson": {
                    "schema": {"type": "string"},
                    "example": '{"user": "277", "item": "260", "rating": 4.5, "time": "2026-11-23T10:00:00Z"}\n',
                }
            },
        }
    },
)
async def put_batch(
    request: Request, idempotency_key: Annotated[str | None, Header(min_length=1, max_length=128)] = None
) -> schemas.Batch:
    """Store many ratings, a JSON object a line, all in one transaction: {user, item, rating, time}.

    Lines that cannot be stored are named with the reason; the others are. With an Idempotency-Key the same batch can
    be sent again for a day, and is carried out once.
    """
    content = await request.body()
    return await run_in_threadpool(_batch, service_of(request), content, idempotency_key)


def _batch(service: Service, content: bytes, key: str | None) -> schemas.Batch:
    digest = hashlib.sha256(content).hexdigest()
    if key is not None and "\0" in key:
        raise Refused(422, "idempotency-key: a NUL character cannot be stored.")
    if key is not None:
        with service.database.read() as connection:
            before = requests.known(connection, key)
        if before is not None:
            return _same(before, digest)
    snapshot = service.registry.current()
    good: dict[tuple[str, str], Stored] = {}
    bad: list[schemas.Rejected] = []
    accepted, at = 0, ratings.now()
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = BatchRow.model_validate(json.loads(line))
            if row.rating is not None:
                check_scale(snapshot, row.rating)
        except (ValidationError, Refused, ValueError, RecursionError) as error:
            bad.append(schemas.Rejected(row=number, reason=_reason(error)))
            continue
        accepted += 1
        new = Stored(row.user, row.item, row.rating, at if row.time is None else row.time)
        old = good.get((row.user, row.item))
        if old is None or old.time <= new.time:
            good[row.user, row.item] = new
    answer = schemas.Batch(accepted=accepted, rejected=len(bad), reasons=bad[:1000])
    with service.database.write() as connection:
        if key is not None and not requests.keep(connection, key, digest, answer.model_dump()):
            return _same(requests.known(connection, key), digest)
        if good:
            ratings.put(connection, list(good.values()))
    measures.WRITTEN.inc(len(good))
    return answer


def _same(before: Any, digest: str) -> schemas.Batch:
    if before.digest != digest:
        raise Refused(422, "This Idempotency-Key came with another batch. Give each batch a key of its own.")
    return schemas.Batch(**before.answer)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'line'}: {first['msg']}"
    if isinstance(error, Refused):
        return error.detail
    return "It is not a JSON object in UTF-8."


@router.get("/users/{user}/ratings", dependencies=[needs("read")], responses=can_fail())
def user_ratings(
    request: Request,
    user: PathId,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=256)] = None,
) -> schemas.Ratings:
    """What a user has rated, by item id, a page at a time."""
    service = service_of(request)
    if cursor is not None and "\0" in cursor:
        raise Refused(422, "cursor: give that of the page before.")
    with service.database.read() as connection:
        rows = ratings.page(connection, user, limit + 1, cursor)
    snapshot = service.registry.current()
    found = []
    for row in rows[:limit]:
        place = snapshot.at.get(row.item)
        title = row.item if place is None else snapshot.title(place)
        rating = row.rating if row.rating is not None else float("nan")
        found.append(schemas.RatedItem(item=row.item, title=title, rating=rating, time=iso(row.time) or ""))
    return schemas.Ratings(user=user, ratings=found, next=rows[limit - 1].item if len(rows) > limit else None)


@router.delete("/users/{user}", dependencies=[needs("write")], responses=can_fail(507))
def erase_user(request: Request, user: PathId) -> schemas.Erased:
    """Remove all that is stored of a user. Models hold items alone, so nothing of the user is left in them."""
    with service_of(request).database.write() as connection:
        return schemas.Erased(user=user, ratings=ratings.erase(connection, user))
