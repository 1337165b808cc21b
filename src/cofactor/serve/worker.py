"""One process that answers:  python -m cofactor.serve.worker FD   of the socket it shares with the others."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from types import FrameType

import uvicorn

from cofactor.serve import logs, service
from cofactor.serve.settings import Settings


class Server(uvicorn.Server):
    """Uvicorn, which after SIGTERM answers for a while yet, denies to be ready, and then ends with code 0."""

    def __init__(self, config: uvicorn.Config, drain: float) -> None:
        super().__init__(config)
        self._drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM ends after the drain, SIGINT or a second signal at once."""
        again = service.DRAINING.is_set()
        service.DRAINING.set()
        if again or sig == signal.SIGINT or self._drain <= 0:
            self.force_exit = again and self.should_exit
            self.should_exit = True
        else:
            timer = threading.Timer(self._drain, self._end)
            timer.daemon = True
            timer.start()

    def _end(self) -> None:
        self.should_exit = True


def run(settings: Settings, listening: socket.socket) -> int:
    """Answer until told to end; returns the exit code."""
    logs.to_stderr()
    settings.export()
    sys.setswitchinterval(0.0005)  # seconds; at the usual 0.005 the event loop waits long for its threads
    config = uvicorn.Config(
        "cofactor.serve.app:from_environment",
        factory=True,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.time_limit) + 1,
        backlog=2048,
    )
    server = Server(config, settings.drain)
    server.run(sockets=[listening])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(run(Settings.imported(), socket.socket(fileno=int(sys.argv[1]))))
