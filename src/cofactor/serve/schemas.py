"""What is sent and answered, checked and described for OpenAPI."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cofactor.serve.store.ratings import now

LONGEST_ID = 256
SORTED_BY = (
    "mean: by predicted rating; ucb and lcb: by one standard deviation above and below it, to try what is in "
    "doubt or to avoid it; thompson: by one draw of what the user may be, another one each time."
)
_AHEAD = 24 * 3600 * 1_000_000  # microseconds by which somebody's clock may be wrong


def _id(text: str) -> str:
    if not 0 < len(text) <= LONGEST_ID:
        raise ValueError(f"an id has 1 to {LONGEST_ID} characters")
    if "\0" in text:
        raise ValueError("an id has no NUL character")
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be stored")
    return text


def _unquoted(text: str) -> str:
    return unquote(text)  # the path stays encoded up to here: see guard.py


def _microseconds(value: Any) -> int:
    """A time as ISO 8601 or as seconds since 1970, in microseconds since 1970."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            found = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1e6)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found = round(value * 1e6)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError("a time is ISO 8601, or seconds since 1970") from None
    if not 0 <= found <= now() + _AHEAD:
        raise ValueError("a time lies between 1970 and tomorrow")
    return found


def iso(microseconds: int | None) -> str | None:
    """A time as ISO 8601 in UTC."""
    if microseconds is None:
        return None
    return (
        datetime.fromtimestamp(microseconds / 1e6, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


Id = Annotated[str, AfterValidator(_id), Field(min_length=1, max_length=LONGEST_ID, examples=["260"])]
PathId = Annotated[str, Path(examples=["260"]), BeforeValidator(_unquoted), AfterValidator(_id)]
Text = Annotated[str, AfterValidator(_no_nul)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Time = Annotated[
    int,
    BeforeValidator(_microseconds),
    Field(json_schema_extra={"type": ["string", "number"], "examples": ["2026-11-23T10:00:00Z"]}),
]
Count = Annotated[int, Query(ge=1, le=1000, description="How many items.")]


class Strict(BaseModel):
    """What is sent: nothing else may be in it."""

    model_config = ConfigDict(extra="forbid")


class RatingIn(Strict):
    """A rating to store."""

    rating: Number = Field(examples=[4.5])
    time: Time | None = Field(
        None, description="When it was given: ISO 8601, or seconds since 1970. Default: now."
    )


class BatchRow(RatingIn):
    """A line of a batch. Without a rating, or with null, the rating is taken back."""

    user: Id
    item: Id
    rating: Number | None = None  # type: ignore[assignment]


class ItemIn(Strict):
    """What is known of an item."""

    title: Annotated[Text, Field(max_length=1000)] | None = Field(None, examples=["Star Wars (1977)"])
    categories: list[Annotated[Text, Field(min_length=1, max_length=100)]] = Field(
        default_factory=list, max_length=50, examples=[["Adventure", "Sci-Fi"]]
    )
    available: bool = Field(True, description="Items that are not available are never listed.")
    features: dict[
        Annotated[Text, Field(min_length=1, max_length=100)],
        Number | Annotated[Text, Field(max_length=10_000)] | list[Annotated[Text, Field(max_length=100)]],
    ] = Field(
        default_factory=dict,
        max_length=200,
        description="What else is known, by name; a model that was fitted with such columns reads it, and title and "
        "categories.",
        examples=[{"year": 1977}],
    )


Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Strategy = Literal["mean", "ucb", "lcb", "thompson"]


class RatingOf(Strict):
    """A rating of somebody who is not stored."""

    item: Id
    rating: Number = Field(examples=[5])


class Wanted(Strict):
    """A question about somebody who is not stored: nothing of it is."""

    ratings: list[RatingOf] = Field(default_factory=list, max_length=10_000)
    n: int = Field(10, ge=1, le=1000)
    category: Annotated[Text, Field(max_length=100)] | None = None
    exclude: list[Id] = Field(default_factory=list, max_length=10_000)
    among: list[Id] | None = Field(None, max_length=10_000)
    exclude_seen: bool = True
    explain: bool = False
    position: bool = False
    diversity: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    interval: Share | None = Field(
        None, description="Also where this share of ratings is expected, as low and high."
    )
    strategy: Strategy = Field("mean", description=SORTED_BY)


class PredictIn(Strict):
    """Whose ratings of which items are to be predicted: of a user who is stored, or of somebody with ``ratings``."""

    user: Id | None = Field(None, examples=["277"])
    ratings: list[RatingOf] | None = Field(None, max_length=10_000)
    items: list[Id] = Field(min_length=1, max_length=10_000, examples=[["260", "318"]])
    interval: Share | None = Field(
        None, description="Also where this share of ratings is expected, as low and high."
    )


class EventIn(Strict):
    """What became of an item of an answer."""

    recommendation_id: Annotated[
        str, Field(pattern=r"^[0-9]{1,9}\.[0-9a-f]{16}$", examples=["1.0f8c6d1e2b3a4c5d"])
    ]
    item: Id
    kind: Literal["click", "view", "buy", "dismiss"] = "click"


# -- answers -----------------------------------------------------------------------------------------


class RatingOut(BaseModel):
    """A rating as it is stored."""

    user: str
    item: str
    rating: float | None = Field(description="null: it was taken back.")
    time: str
    stored: bool = Field(description="False where a rating with a later time was there, and stays.")
    known: bool = Field(
        description="Whether the model knows the item; else the rating counts from the next training."
    )


class RatedItem(BaseModel):
    """One of a user's ratings."""

    item: str
    title: str
    rating: float
    time: str


class Ratings(BaseModel):
    """Ratings of a user, by item id."""

    user: str
    ratings: list[RatedItem]
    next: str | None = Field(description="The cursor of the next page.")


class Rejected(BaseModel):
    """A line of a batch that was not stored."""

    row: int = Field(description="Counted from 1.")
    reason: str


class Batch(BaseModel):
    """What became of a batch."""

    accepted: int
    rejected: int
    reasons: list[Rejected] = Field(description="Of the first thousand that were rejected.")


class Erased(BaseModel):
    """What was removed of a user."""

    user: str
    ratings: int


class ItemOut(BaseModel):
    """An item."""

    item: str
    title: str
    categories: list[str]
    available: bool
    ratings: int
    new: bool = Field(False, description="Nobody has rated it, but the model knows it by its content.")


class Items(BaseModel):
    """Items, those rated most first."""

    items: list[ItemOut]
    next: str | None


class Part(BaseModel):
    """What one rating of the user adds to a score."""

    item: str
    title: str
    rating: float
    adds: float


class Reason(BaseModel):
    """score = mean + user_adds + item_adds + the sum of what the parts add."""

    mean: float
    user_adds: float
    item_adds: float
    parts: list[Part]


class Listed(BaseModel):
    """An item of a list."""

    item: str
    title: str
    categories: list[str]
    score: float | None = Field(
        description="A predicted rating or a cosine; null where the model does not know it."
    )
    ratings: int
    low: float | None = Field(None, description="Where the interval that was asked for begins, on the scale.")
    high: float | None = Field(None, description="Where it ends.")
    new: bool = Field(False, description="Nobody has rated it, but the model knows it by its content.")
    explanation: Reason | None = None


Source = Literal["model", "fold_in", "popular"]


class Answer(BaseModel):
    """A list of items, and what made it."""

    model_version: int | None
    recommendation_id: str
    source: Source = Field(
        description="model: all the user's ratings were stored before the model was trained; fold_in: some came later, "
        "or are not stored; popular: nothing is known of the user, and these are the items rated most."
    )
    items: list[Listed]
    position: tuple[float, float] | None = None
    user: str | None = None


class Predicted(BaseModel):
    """A predicted rating."""

    item: str
    score: float
    known: bool = Field(description="Whether the model knows the item.")
    low: float | None = Field(None, description="Where the interval that was asked for begins, on the scale.")
    high: float | None = Field(None, description="Where it ends.")


class Predictions(BaseModel):
    """Predicted ratings."""

    model_version: int
    recommendation_id: str
    source: Source
    items: list[Predicted]


class Accepted(BaseModel):
    """It was noted."""

    accepted: bool = True


class Place(BaseModel):
    """An item on the map."""

    item: str
    title: str
    categories: list[str]
    x: float
    y: float
    ratings: int


class Map(BaseModel):
    """The items rated most, on the plane in which they differ most."""

    model_version: int | None
    items: list[Place]


class ModelOut(BaseModel):
    """A registered model."""

    version: int
    created: str
    kind: str
    params: dict[str, Any]
    ratings: int
    users: int
    items: int
    active: bool
    reason: str


class Models(BaseModel):
    """The models, newest first."""

    active: int | None
    models: list[ModelOut]


class JobOut(BaseModel):
    """A training."""

    id: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    stage: str
    progress: float
    message: str
    created: str
    started: str | None
    finished: str | None
    model_version: int | None


class Jobs(BaseModel):
    """Trainings, newest first."""

    jobs: list[JobOut]


class Asked(BaseModel):
    """A training that will run."""

    id: str
    status: str


class Activated(BaseModel):
    """The model that answers now."""

    active: int
