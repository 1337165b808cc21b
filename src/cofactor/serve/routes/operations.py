"""Models and trainings, for those who run the service."""

from __future__ import annotations

import time
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request

from cofactor.serve import schemas
from cofactor.serve.access import needs, service_of
from cofactor.serve.problems import Refused
from cofactor.serve.routes.common import can_fail
from cofactor.serve.schemas import iso
from cofactor.serve.service import Service
from cofactor.serve.store import items, jobs, models, ratings

router = APIRouter(tags=["operations"])

Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
JobId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/models", dependencies=[needs("read")], responses=can_fail())
def list_models(request: Request) -> schemas.Models:
    """The models, newest first."""
    with service_of(request).database.read() as connection:
        rows = models.newest_first(connection)
    found = [
        schemas.ModelOut(
            version=row.version,
            created=iso(row.created) or "",
            kind=row.kind,
            params=row.params,
            ratings=row.ratings,
            users=row.users,
            items=row.items,
            active=row.active,
            reason=row.reason,
        )
        for row in rows
    ]
    return schemas.Models(active=next((row.version for row in rows if row.active), None), models=found)


@router.get("/models/{version}/quality", dependencies=[needs("read")], responses=can_fail(404))
def quality(request: Request, version: Version) -> dict[str, Any]:
    """How good a model was found to be when it was registered, and how its rank was chosen."""
    with service_of(request).database.read() as connection:
        row = models.get(connection, version)
    if row is None:
        raise Refused(404, "There is no model of this version.")
    return {"version": version, "reason": row.reason, "params": row.params, **row.quality}


@router.post("/models/{version}:activate", dependencies=[needs("admin")], responses=can_fail(404))
def activate(request: Request, version: Version) -> schemas.Activated:
    """Let this model answer, in all processes, from the next request on."""
    service = service_of(request)
    with service.database.write() as connection:
        if not models.activate(connection, version):
            raise Refused(404, "There is no model of this version.")
    return _active(service)


@router.post("/models:rollback", dependencies=[needs("admin")], responses=can_fail(409))
def rollback(request: Request) -> schemas.Activated:
    """Let the model answer that did before the active one."""
    service = service_of(request)
    with service.database.write() as connection:
        version = models.before_active(connection)
        if version is None or not models.activate(connection, version):
            raise Refused(409, "No other model was active before.")
    return _active(service)


def _active(service: Service) -> schemas.Activated:
    return schemas.Activated(active=service.registry.current().version or 0)


@router.post("/jobs/train", status_code=202, dependencies=[needs("admin")], responses=can_fail(507))
def train(request: Request) -> schemas.Asked:
    """Train on all stored ratings, in a process of its own. While one training waits or runs, it is that one."""
    with service_of(request).database.write() as connection:
        job, _ = jobs.ask(connection)
        row = jobs.get(connection, job)
    return schemas.Asked(id=str(job), status=row.status if row is not None else "queued")


@router.get("/jobs", dependencies=[needs("admin")], responses=can_fail())
def list_jobs(request: Request) -> schemas.Jobs:
    """The last trainings, newest first."""
    with service_of(request).database.read() as connection:
        return schemas.Jobs(jobs=[_job(row) for row in jobs.newest_first(connection)])


@router.get("/jobs/{job}", dependencies=[needs("admin")], responses=can_fail(404))
def get_job(request: Request, job: JobId) -> schemas.JobOut:
    """How a training does."""
    with service_of(request).database.read() as connection:
        row = jobs.get(connection, job)
    if row is None:
        raise Refused(404, "There is no such job.")
    return _job(row)


@router.delete("/jobs/{job}", status_code=202, dependencies=[needs("admin")], responses=can_fail(404))
def cancel(request: Request, job: JobId) -> schemas.JobOut:
    """Stop a training. The active model stays as it is."""
    with service_of(request).database.write() as connection:
        row = jobs.cancel(connection, job)
    if row is None:
        raise Refused(404, "There is no such job.")
    return _job(row)


def _job(row: Any) -> schemas.JobOut:
    return schemas.JobOut(
        id=str(row.id),
        status=row.status,
        stage=row.stage,
        progress=row.progress,
        message=row.message,
        created=iso(row.created) or "",
        started=iso(row.started),
        finished=iso(row.finished),
        model_version=row.model_version,
    )


@router.get("/operations", dependencies=[needs("admin")], responses=can_fail())
def operations(request: Request) -> dict[str, Any]:
    """How busy the service is. Requests and latency are those of the process that answers; /metrics has all."""
    service = service_of(request)
    minute = ratings.now() // 60_000_000
    with service.database.read() as connection:
        n_ratings, n_users = ratings.totals(connection)
        n_items = items.count(connection)
        written = dict(ratings.written_since(connection, (minute - 59) * 60_000_000))
    recent = list(service.latencies)
    at = time.monotonic()
    seconds = np.array([took for _, took in recent]) if recent else np.zeros(1)
    return {
        "ratings_per_minute": [
            {"minute": iso(m * 60_000_000), "count": written.get(m, 0)}
            for m in range(minute - 59, minute + 1)
        ],
        "requests_per_second": sum(at - when < 10 for when, _ in recent) / 10,
        "latency_ms": {
            name: float(np.quantile(seconds, q) * 1000) for name, q in (("p50", 0.5), ("p99", 0.99))
        },
        "store": {"ratings": n_ratings, "users": n_users, "items": n_items},
    }
