"""Recommendations, predictions, similar and popular items, and what became of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from cofactor.serve import answering, measures, schemas
from cofactor.serve.access import needs, service_of
from cofactor.serve.answering import Wish
from cofactor.serve.problems import Refused
from cofactor.serve.routes.common import can_fail, check_scale, place_of
from cofactor.serve.schemas import Count, EventIn, PathId, PredictIn, RatingOf, Wanted
from cofactor.serve.snapshot import Snapshot
from cofactor.serve.store import ratings, requests

router = APIRouter(tags=["recommendations"])

Category = Annotated[str | None, Query(max_length=100, description="Only items of this category.")]


@router.get(
    "/users/{user}/recommendations",
    dependencies=[needs("read")],
    response_model=schemas.Answer,
    response_model_exclude_unset=True,
    responses=can_fail(404),
)
async def recommend(
    request: Request,
    user: PathId,
    n: Count = 10,
    category: Category = None,
    exclude_seen: bool = True,
    explain: bool = False,
    diversity: Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)] = 0.0,
    position: bool = False,
    interval: Annotated[
        schemas.Share | None,
        Query(description="Also where this share of ratings is expected, as low and high."),
    ] = None,
    strategy: Annotated[schemas.Strategy, Query(description=schemas.SORTED_BY)] = "mean",
) -> JSONResponse:
    """The best items for a user, by all ratings that are stored at this moment. 404 where no item is left."""
    service = service_of(request)
    wish = Wish(n, category, None, (), exclude_seen, explain, position, diversity, interval, strategy)
    slow = explain or interval is not None or strategy != "mean"

    def work() -> dict[str, Any]:
        with service.database.read() as connection:
            state = ratings.of_user(connection, user)
        snapshot = service.registry.current(state.generation)
        return answering.recommend(snapshot, state.ratings, wish, state.written, state.times) | {"user": user}

    return _answer(await service.quickly(work, slow=slow))


@router.post(
    "/recommendations",
    dependencies=[needs("read")],
    response_model=schemas.Answer,
    response_model_exclude_unset=True,
    responses=can_fail(404),
)
async def recommend_anonymous(request: Request, wanted: Wanted) -> JSONResponse:
    """The best items for somebody with these ratings, of whom nothing is stored. 404 where no item is left."""
    service = service_of(request)
    wish = Wish(
        wanted.n,
        wanted.category,
        wanted.among,
        wanted.exclude,
        wanted.exclude_seen,
        wanted.explain,
        wanted.position,
        wanted.diversity,
        wanted.interval,
        wanted.strategy,
    )
    slow = wanted.explain or wanted.interval is not None or wanted.strategy != "mean"

    def work() -> dict[str, Any]:
        snapshot = service.registry.current()
        return answering.recommend(snapshot, _own(snapshot, wanted.ratings), wish)

    return _answer(await service.quickly(work, slow=slow))


def _own(snapshot: Snapshot, given: list[RatingOf]) -> dict[str, float]:
    for one in given:
        check_scale(snapshot, one.rating)
    return {one.item: one.rating for one in given}


def _answer(content: dict[str, Any]) -> JSONResponse:
    if not content["items"]:
        raise Refused(404, "No item is left to list: everything was rated, excluded, or is not available.")
    measures.ANSWERS.labels(content["source"]).inc()
    return JSONResponse(
        content
    )  # made of plain values: a second look at them would cost as much as the answer


@router.post("/predict", dependencies=[needs("read")], responses=can_fail())
def predict(request: Request, wanted: PredictIn) -> schemas.Predictions:
    """Predicted ratings of items, for a user who is stored or for somebody with these ratings."""
    service = service_of(request)
    if (wanted.user is None) == (wanted.ratings is None):
        raise Refused(422, "Give either a user or ratings.")
    if wanted.user is not None:
        with service.database.read() as connection:
            state = ratings.of_user(connection, wanted.user)
        snapshot, own = service.registry.current(state.generation), state.ratings
        written: int | None = state.written
        times: dict[str, int] | None = state.times
    else:
        snapshot, written, times = service.registry.current(), None, None
        own = _own(snapshot, wanted.ratings or [])
    if snapshot.model is None or snapshot.version is None:
        raise Refused(503, "There is no model yet. Train one: POST /v1/jobs/train.", Retry_After="60")
    found = answering.predict(snapshot, own, wanted.items, times, wanted.interval)
    return schemas.Predictions(
        model_version=snapshot.version,
        recommendation_id=answering.recommendation_id(snapshot),
        source=answering.source_of(snapshot, snapshot.row(own), written),
        items=[schemas.Predicted(**it) for it in found],
    )


@router.get(
    "/items/{item}/similar",
    dependencies=[needs("read")],
    response_model=schemas.Answer,
    response_model_exclude_unset=True,
    responses=can_fail(404),
)
def similar(request: Request, item: PathId, n: Count = 10) -> JSONResponse:
    """The items most like one; scores are cosines of their factors."""
    snapshot = service_of(request).registry.current()
    place = place_of(snapshot, item, known=True)
    return _answer(_made("model", snapshot, answering.similar(snapshot, place, n)))


@router.get(
    "/popular",
    dependencies=[needs("read")],
    response_model=schemas.Answer,
    response_model_exclude_unset=True,
    responses=can_fail(404),
)
def popular(request: Request, n: Count = 10, category: Category = None) -> JSONResponse:
    """The items rated most."""
    snapshot = service_of(request).registry.current()
    return _answer(_made("popular", snapshot, answering.popular(snapshot, n, category)))


def _made(source: str, snapshot: Snapshot, items: list[dict[str, Any]]) -> dict[str, Any]:
    name = answering.recommendation_id(snapshot)
    return {"model_version": snapshot.version, "recommendation_id": name, "source": source, "items": items}


@router.post("/events", status_code=202, dependencies=[needs("read")], responses=can_fail(507))
def note_event(request: Request, event: EventIn) -> schemas.Accepted:
    """Note what became of an item of an answer. Who it was is not asked."""
    version = answering.version_of(event.recommendation_id)
    with service_of(request).database.write() as connection:
        requests.add_event(connection, event.kind, event.recommendation_id, version, event.item)
    measures.EVENTS.labels(event.kind).inc()
    return schemas.Accepted()
