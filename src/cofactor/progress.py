"""A progress bar on stderr: where somebody is watching and it takes long, else nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_PATIENCE = 1.0  # seconds before the bar appears by itself


class Progress:
    """``with Progress(total, "Fitting") as bar: bar.advance("J = 3.2")``."""

    def __init__(self, total: int, what: str, show: bool | None = None) -> None:
        """Show always, never, or (None) on a terminal after a second."""
        self._total, self._what = total, what
        self._wanted = sys.stderr.isatty() if show is None else show
        self._after = time.monotonic() + (_PATIENCE if show is None else 0.0)
        self._bar: RichProgress | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def advance(self, note: str = "", steps: int = 1) -> None:
        """So many steps further; ``note`` stands behind the bar."""
        self._done += steps
        if not self._wanted or time.monotonic() < self._after:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            console = Console(stderr=True)
            self._bar = Progress(*columns, console=console, transient=console.is_terminal)
            self._bar.start()
            self._bar.add_task(self._what, total=self._total, note="")
        self._bar.update(self._bar.task_ids[0], completed=self._done, note=note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
