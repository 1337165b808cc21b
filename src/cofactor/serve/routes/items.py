"""Items: what is known of them, a search, and the map."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request

from cofactor.serve import schemas
from cofactor.serve.access import needs, service_of
from cofactor.serve.problems import Refused
from cofactor.serve.routes.common import can_fail, place_of
from cofactor.serve.schemas import ItemIn, PathId
from cofactor.serve.snapshot import Snapshot
from cofactor.serve.store import items
from cofactor.serve.store.items import Item

router = APIRouter(tags=["items"])


@router.put("/items/{item}", dependencies=[needs("write")], responses=can_fail(507))
def put_item(request: Request, item: PathId, given: ItemIn) -> schemas.ItemOut:
    """Say what an item is, in place of what was said before. It holds from the next answer.

    Where the model reads content, an item that it has not learnt from can be recommended at once.
    """
    service = service_of(request)
    categories = tuple(dict.fromkeys(given.categories))
    with service.database.write() as connection:
        items.put(connection, [Item(item, given.title, categories, given.available, given.features)])
    snapshot = service.registry.current()
    return _item(snapshot, place_of(snapshot, item))


@router.get("/items/{item}", dependencies=[needs("read")], responses=can_fail(404))
def get_item(request: Request, item: PathId) -> schemas.ItemOut:
    """What is known of an item."""
    service = service_of(request)
    snapshot = service.registry.current()
    place = place_of(snapshot, item)
    if not snapshot.available[place]:
        with service.database.read() as connection:
            if items.get(connection, item) is None:
                raise Refused(404, "There is no such item.")
    return _item(snapshot, place)


@router.delete("/items/{item}", dependencies=[needs("write")], responses=can_fail(404, 507))
def delete_item(request: Request, item: PathId) -> schemas.ItemOut:
    """Forget title and categories of an item, and never list it again. Its ratings stay."""
    service = service_of(request)
    place_of(service.registry.current(), item)
    with service.database.write() as connection:
        if items.get(connection, item) is None:
            items.put(connection, [Item(item)])
        items.remove(connection, item)
    snapshot = service.registry.current()
    return _item(snapshot, place_of(snapshot, item))


@router.get("/items", dependencies=[needs("read")], responses=can_fail())
def list_items(
    request: Request,
    search: Annotated[str | None, Query(max_length=200, description="Words of the title.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    cursor: Annotated[str | None, Query(pattern="^[0-9]{1,9}$")] = None,
) -> schemas.Items:
    """Available items, those rated most first; with ``search``, those with all its words in their titles."""
    snapshot = service_of(request).registry.current()
    order = snapshot.popular
    if search is not None and search.strip():
        found = snapshot.index.find(search)
        found = found[snapshot.available[found]]
        order = found[np.argsort(-snapshot.counts[found], kind="stable")]
    begin = int(cursor or 0)
    page = order[begin : begin + limit]
    more = begin + limit < len(order)
    return schemas.Items(
        items=[_item(snapshot, p) for p in page.tolist()], next=str(begin + limit) if more else None
    )


@router.get("/map", dependencies=[needs("read")], responses=can_fail())
def item_map(request: Request) -> schemas.Map:
    """Up to a thousand of the items rated most, on the plane in which their factors differ most."""
    snapshot = service_of(request).registry.current()
    plane = snapshot.plane
    shown = [] if plane is None else zip(plane.shown.tolist(), plane.places.tolist())
    places = [
        schemas.Place(
            item=snapshot.ids[at],
            title=snapshot.title(at),
            categories=list(snapshot.categories[at]),
            x=x,
            y=y,
            ratings=int(snapshot.counts[at]),
        )
        for at, (x, y) in shown
    ]
    return schemas.Map(model_version=snapshot.version, items=places)


def _item(snapshot: Snapshot, place: int) -> schemas.ItemOut:
    return schemas.ItemOut(
        item=snapshot.ids[place],
        title=snapshot.title(place),
        categories=list(snapshot.categories[place]),
        available=bool(snapshot.available[place]),
        ratings=int(snapshot.counts[place]),
        new=snapshot.is_new(place),
    )
