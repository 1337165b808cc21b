"""Training jobs: asked for, taken by one process, told about while they run, ended once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from cofactor.serve.store.ratings import now
from cofactor.serve.store.schema import jobs, state

RUNNING = ("queued", "running")
SILENT = 60_000_000  # microseconds without a word after which a job counts as dead


def ask(connection: Connection) -> tuple[int, bool]:
    """The id of a job that is to run, and whether it is new: while one waits or runs there is no second one."""
    connection.execute(
        select(state).where(state.c.name == "generation").with_for_update()
    )  # one who asks at a time
    waiting = connection.execute(select(jobs.c.id).where(jobs.c.status.in_(RUNNING)).limit(1)).scalar()
    if waiting is not None:
        return int(waiting), False
    row = {
        "status": "queued",
        "stage": "queued",
        "progress": 0.0,
        "message": "",
        "cancel": False,
        "created": now(),
    }
    return int(connection.execute(insert(jobs).values(row).returning(jobs.c.id)).scalar_one()), True


def take(connection: Connection) -> int | None:
    """Take a job that waits, for this process alone; None where none does."""
    waiting = select(func.min(jobs.c.id)).where(jobs.c.status == "queued").scalar_subquery()
    taken = (
        update(jobs)
        .where(jobs.c.id == waiting, jobs.c.status == "queued")
        .values(status="running", stage="starting", started=now(), heartbeat=now())
    )
    return connection.execute(taken.returning(jobs.c.id)).scalar()


def tell(connection: Connection, job: int, **facts: Any) -> bool:
    """Note how a running job does; returns whether it may go on: it was not asked to stop, nor given up."""
    told = update(jobs).where(jobs.c.id == job, jobs.c.status == "running").values(heartbeat=now(), **facts)
    cancel = connection.execute(told.returning(jobs.c.cancel)).scalar()
    return cancel is False


def end(connection: Connection, job: int, status: str, message: str, version: int | None = None) -> bool:
    """Note that a running job has ended; False where somebody has noted an end before."""
    ended = update(jobs).where(jobs.c.id == job, jobs.c.status.in_(RUNNING))
    facts: dict[str, Any] = {
        "status": status,
        "message": message,
        "model_version": version,
        "finished": now(),
    }
    if status == "done":
        facts["progress"] = 1.0
    return connection.execute(ended.values(**facts)).rowcount > 0


def cancel(connection: Connection, job: int) -> Row[Any] | None:
    """Ask a job to stop: one that waits ends here, one that runs soon. Returns its row, or None."""
    end_waiting = update(jobs).where(jobs.c.id == job, jobs.c.status == "queued")
    connection.execute(
        end_waiting.values(status="cancelled", message="Cancelled before it began.", finished=now())
    )
    connection.execute(update(jobs).where(jobs.c.id == job, jobs.c.status == "running").values(cancel=True))
    return get(connection, job)


def bury(connection: Connection) -> None:
    """End jobs whose process has not been heard of for long."""
    silent = update(jobs).where(jobs.c.status == "running", jobs.c.heartbeat < now() - SILENT)
    message = "Its process is gone. The active model has not changed; start another job."
    connection.execute(silent.values(status="failed", message=message, finished=now()))


def last_asked(connection: Connection) -> int:
    """When the last job was asked for; 0 where none was."""
    return int(connection.execute(select(func.max(jobs.c.created))).scalar() or 0)


def get(connection: Connection, job: int) -> Row[Any] | None:
    """One job's row, or None."""
    return connection.execute(select(jobs).where(jobs.c.id == job)).first()


def newest_first(connection: Connection, limit: int = 50) -> list[Row[Any]]:
    """Rows of jobs."""
    return list(connection.execute(select(jobs).order_by(jobs.c.id.desc()).limit(limit)))


def to_do(connection: Connection) -> bool:
    """Whether a job waits, or one that runs has gone silent."""
    silent = (jobs.c.status == "running") & (jobs.c.heartbeat < now() - SILENT)
    return (
        connection.execute(select(jobs.c.id).where(or_(jobs.c.status == "queued", silent)).limit(1)).first()
        is not None
    )
