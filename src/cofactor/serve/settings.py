"""How a service is run: what the command line says, handed to every process of it."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

VARIABLE = "COFACTOR_SERVICE"  # the environment variable that carries the settings to worker processes
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """Attributes.

    folder: where models are kept, and the database unless ``db`` says another.
    db: SQLAlchemy URL; empty for SQLite in ``folder``.
    host, port: where to listen.
    workers: processes.
    retrain_every: seconds between trainings; 0 for none.
    rate: requests a second that one key or address may make; 0 for any number.
    body_limit, batch_limit: bytes of a request, and of a batch of ratings.
    time_limit: seconds a request may take.
    drain: seconds between the signal to end and the end, in which requests are answered and readiness is denied.
    allowed_hosts: names by which it may be called; empty for any.
    demo: whether the ratings are the bundled ones.
    """

    folder: str
    db: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    retrain_every: float = 0.0
    rate: float = 0.0
    body_limit: int = 1 << 20
    batch_limit: int = 1 << 26
    time_limit: float = 30.0
    drain: float = 0.0
    allowed_hosts: tuple[str, ...] = ()
    demo: bool = False

    @property
    def url(self) -> str:
        """The URL of the database."""
        return self.db or f"sqlite:///{Path(self.folder).absolute() / 'service.db'}"

    @property
    def models(self) -> Path:
        """The folder of the models."""
        return Path(self.folder).absolute() / "models"

    def export(self) -> None:
        """Into the environment, for processes to come."""
        os.environ[VARIABLE] = json.dumps(dataclasses.asdict(self))

    @classmethod
    def imported(cls) -> Self:
        """What ``export`` left in the environment."""
        facts = json.loads(os.environ[VARIABLE])
        return cls(**{**facts, "allowed_hosts": tuple(facts["allowed_hosts"])})
