"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import cofactor
from cofactor.serve import measures, problems
from cofactor.serve.access import needs, service_of
from cofactor.serve.guard import Buckets, Guard
from cofactor.serve.problems import Refused
from cofactor.serve.routes import answers, items, operations, ratings
from cofactor.serve.routes.common import can_fail
from cofactor.serve.service import DRAINING, Service
from cofactor.serve.settings import Settings
from cofactor.serve.store.items import generation

STATIC = Path(__file__).parent / "static"

general = APIRouter(tags=["service"])


def create_app(settings: Settings) -> FastAPI:
    """An application of its own for these settings; it opens the store when it is started."""
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="cofactor",
        version=cofactor.__version__,
        summary="Ratings in, recommendations out.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.service = service
    app.state.buckets = Buckets(settings.rate)
    problems.install(app)
    for router in (ratings.router, answers.router, items.router, operations.router, general):
        app.include_router(router, prefix="/v1")
    app.add_api_route("/health/live", live, include_in_schema=False)
    app.add_api_route("/health/ready", ready, include_in_schema=False)
    app.add_api_route("/metrics", metrics, include_in_schema=False, dependencies=[needs("read")])
    app.add_api_route("/", page, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, service=service)
    return app


def from_environment() -> FastAPI:
    """The application of the settings in the environment: what worker processes begin with."""
    from cofactor.serve import logs

    logs.to_stderr()
    return create_app(Settings.imported())


async def live() -> dict[str, str]:
    """The process runs."""
    return {"status": "live"}


def ready(request: Request) -> dict[str, Any]:
    """Requests can be answered: the store does, and the process was not told to end."""
    service = service_of(request)
    if DRAINING.is_set():
        raise Refused(503, "The service was told to end.")
    with service.database.read() as connection:
        snapshot = service.registry.current(generation(connection))
    return {"status": "ready", "model_version": snapshot.version}


def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    snapshot = service_of(request).registry.latest
    measures.MODEL.set((snapshot.version if snapshot is not None else None) or 0)
    return Response(measures.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def page() -> FileResponse:
    """The page for people."""
    return FileResponse(STATIC / "index.html")


@general.get("/service", responses=can_fail())
def about(request: Request) -> dict[str, Any]:
    """What this service is. No key is needed."""
    service = service_of(request)
    snapshot = service.registry.current()
    model = snapshot.model
    scale = snapshot.scale or (0.5, 5.0)
    step = 0.5 if (2 * scale[0]).is_integer() and scale[1] - scale[0] <= 10 else (scale[1] - scale[0]) / 10
    return {
        "name": "cofactor",
        "version": cofactor.__version__,
        "keys_required": service.keys()[0],
        "demo": service.settings.demo,
        "model_version": snapshot.version,
        "model": None
        if model is None
        else {"kind": type(model).__name__, "rank": snapshot.rank, "items": snapshot.n_known},
        "scale": list(scale),
        "step": step,
        "categories": list(snapshot.by_category),
    }
