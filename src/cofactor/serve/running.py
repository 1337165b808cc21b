"""Starting a service: checks, the listening socket, and the processes behind it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import FrameType

from cofactor.errors import BadParameter, CofactorError
from cofactor.serve.measures import FOLDER
from cofactor.serve.settings import LOOPBACK, Settings
from cofactor.serve.store import keys
from cofactor.serve.store.database import Database
from cofactor.serve.worker import run

_PATIENCE = 60.0  # seconds that workers have to end, beyond what a request may take


class PortTaken(CofactorError):
    """Something else listens there."""


def check_address(settings: Settings, database: Database) -> None:
    """Raises ``BadParameter`` where anybody could come in: beyond this machine, and no key was ever made."""
    if settings.host in LOOPBACK:
        return
    with database.read() as connection:
        if not keys.are_there(connection):
            raise BadParameter(
                f"On {settings.host} everybody who reaches this machine could read and write. Make a key first, with "
                f"`cofactor keys create NAME --scope admin` and the same --folder or --db; or listen on 127.0.0.1."
            )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ``PortTaken`` and ``BadParameter``."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError) as error:
        raise BadParameter(f"One cannot listen at {host}, port {port} ({error}).") from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise PortTaken(
            f"Nobody can listen at {host}, port {port} ({error.strerror}). Give another with --port."
        ) from None
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening


def serve(settings: Settings, listening: socket.socket) -> int:
    """Answer until SIGTERM or SIGINT; returns the exit code."""
    if settings.workers == 1:
        return run(settings, listening)
    return Workers(settings, listening).run()


class Workers:
    """Several processes on one socket; one that dies is replaced."""

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        """Nothing is started yet."""
        self._settings, self._listening = settings, listening
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ending = False

    def run(self) -> int:
        """Start them, watch over them, and end with them; returns the exit code."""
        folder = tempfile.mkdtemp(prefix="cofactor-metrics-")
        os.environ[FOLDER] = folder
        self._settings.export()
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, self._end)
        try:
            self._processes = [self._start() for _ in range(self._settings.workers)]
            failures = 0
            while not self._ending:
                time.sleep(0.2)
                for place, process in enumerate(self._processes):
                    if process.poll() is not None and not self._ending:
                        failures += 1
                        if failures > 10 * len(self._processes):
                            print(
                                "Error: the service's processes die again and again; see above.",
                                file=sys.stderr,
                            )
                            self._end(signal.SIGTERM, None)
                            return 1
                        time.sleep(min(0.1 * failures, 2.0))
                        self._processes[place] = self._start()
            return max(
                abs(process.wait(self._settings.time_limit + _PATIENCE)) for process in self._processes
            )
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        at = self._listening.fileno()
        command = [sys.executable, "-m", "cofactor.serve.worker", str(at)]
        # A session of its own: Ctrl-C comes here alone, and is handed on.
        return subprocess.Popen(command, pass_fds=(at,), stdin=subprocess.DEVNULL, start_new_session=True)

    def _end(self, sign: int, _frame: FrameType | None) -> None:
        self._ending = True
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(sign)
