"""What routes share."""

from __future__ import annotations

from typing import Any

from cofactor.serve import problems
from cofactor.serve.problems import Problem, Refused
from cofactor.serve.snapshot import Snapshot


def can_fail(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the problems that a route answers with beside the usual ones."""
    described = {"content": {problems.MEDIA: {"schema": Problem.model_json_schema()}}}
    texts = {
        400: "Not HTTP as it should be",
        401: "No key",
        403: "The key's scope is too low",
        413: "Too large",
    }
    texts |= {404: "There is no such thing", 409: "In the way of something else", 422: "Not usable"}
    texts |= {421: "Unknown host", 429: "Too many requests", 503: "The database or the model is not there"}
    texts |= {507: "The disk is full"}
    every = (400, 401, 403, 413, 421, 422, 429, 503, *codes)
    return {code: {"description": texts[code], **described} for code in sorted(every)}


def check_scale(snapshot: Snapshot, rating: float) -> None:
    """Raises ``Refused`` for a rating that is not on the scale."""
    scale = snapshot.scale
    if scale is not None and not scale[0] <= rating <= scale[1]:
        raise Refused(422, f"rating: it is not on the scale {scale[0]:g} to {scale[1]:g}.")


def place_of(snapshot: Snapshot, item: str, known: bool = False) -> int:
    """The position of an item. Raises ``Refused`` where there is none, or, if ``known``, none in the model."""
    place = snapshot.at.get(item)
    if place is None:
        raise Refused(404, "There is no such item.")
    if known and place >= snapshot.n_known:
        raise Refused(
            404,
            "The model does not know this item yet; it will from the next training after its first rating.",
        )
    return place
