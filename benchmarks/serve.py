"""How many requests a service answers, how soon, and whether it stays as it is.

    python benchmarks/serve.py [--workers 2] [--postgres URL] [--implicit PYTHON] [--soak 600]

1. The bundled model, by --workers processes: recommendations of ten for users drawn at random, by 8 connections that
   ask again at once. Then ratings put, each committed before it is answered, on SQLite and, with --postgres
   (postgresql+psycopg://… of an empty database), on PostgreSQL.
2. 500,000 items × 64 factors (random), one process: 50 requests a second on a clock, for users with 40 ratings.
3. With --implicit, an interpreter that has implicit, fastapi and uvicorn: the same bundled ratings and clients, before
   one process of implicit's ALS.recommend behind FastAPI, and one process of cofactor. It reads no database, takes
   users as they were trained, and knows no new rating: less work.
4. With --soak, so many seconds of mixed load: three connections read, one writes. Memory is that of all processes.

Clients are processes on the same machine, one for each connection, that keep it open. Processors can be restricted for
service and clients together by taskset.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import Figure, parser, show

import cofactor as cf
from cofactor.ids import IdMap
from cofactor.ratings import Compressed

CONNECTIONS = 8
LARGE = 500_000, 64
PEER = Path(__file__).parent / "contest" / "implicit_service.py"


# -- the service ---------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A service until it is ready, and its end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                if process.poll() is not None:
                    break
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5)
                    yield process
                    return
                except OSError:
                    time.sleep(0.1)
            log.seek(0)
            sys.exit(f"The service did not start: {log.read()[-2000:].decode()}")
        finally:
            process.terminate()
            process.wait()


def serve(folder: Path, port: int, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "cofactor",
        "serve",
        "--folder",
        str(folder),
        "--port",
        str(port),
        *arguments,
    ]


def memory(process: subprocess.Popen[bytes]) -> float:
    """MiB of a process and its children that are theirs alone, and their parts of what they share."""
    pids = [
        process.pid,
        *map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()),
    ]
    lines = "\n".join(Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


# -- clients -------------------------------------------------------------------------------------


def recommendation(users: int, rng: random.Random) -> bytes:
    user = rng.randint(1, users)
    return f"GET /v1/users/{user}/recommendations?n=10 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def rating(users: int, rng: random.Random) -> bytes:
    user, item = rng.randint(1, users), rng.randint(1, 2000)
    body = f'{{"rating": {rng.randint(1, 5)}}}'
    head = f"PUT /v1/ratings/{user}/{item} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


Make = Callable[[int, random.Random], bytes]


def client(port: int, make: Make, users: int, seconds: float, every: float, seed: int, told: Any) -> None:
    """One connection: asks again at once, or on a clock ``every`` so many seconds; tells latencies and failures.

    On a clock, latency counts from the moment that the clock said, so that waiting for an answer is not forgotten.
    """
    rng, latencies, failures = random.Random(seed), [], 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = time.perf_counter()
        due = begin + rng.random() * every
        while time.perf_counter() - begin < seconds:
            if every:
                time.sleep(max(0.0, due - time.perf_counter()))
            at = due if every else time.perf_counter()
            connection.sendall(make(users, rng))
            answer = connection.recv(1 << 16)
            head, _, body = answer.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(1 << 16)
            failures += not head.startswith(b"HTTP/1.1 200")
            latencies.append(time.perf_counter() - at)
            due += every
    told.put((latencies, failures))


def load(
    port: int, makes: list[Make], users: int, seconds: float, every: float = 0.0
) -> tuple[float, float, int]:
    """Requests a second, the 99th percentile of latency in milliseconds, failures; a client for each of ``makes``."""
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    clients = [
        context.Process(target=client, args=(port, make, users, seconds, every, k, told))
        for k, make in enumerate(makes)
    ]
    for one in clients:
        one.start()
    found = [told.get() for _ in clients]
    for one in clients:
        one.join()
    latencies = np.concatenate([np.array(some) for some, _ in found])
    good = 1 - sum(bad for _, bad in found) / len(latencies)
    return len(latencies) / seconds, float(np.quantile(latencies, 0.99)) * 1000, good


# -- the parts -----------------------------------------------------------------------------------


def bundled(args: Any, folder: Path, seconds: float) -> list[Figure]:
    figures = []
    port = free_port()
    workers = ("--workers", str(args.workers))
    with running(serve(folder / "demo", port, "--demo", *workers), port):
        load(port, [recommendation] * CONNECTIONS, 671, 1)
        rate, p99, good = load(port, [recommendation] * CONNECTIONS, 671, seconds)
        figures += [
            Figure("bundled model, recommendations", rate, "a second", 1500, most=False),
            Figure("bundled model, 99th percentile", p99, "ms", 20),
        ]
        puts, p99, stored = load(port, [rating] * CONNECTIONS, 671, seconds)
        figures += [
            Figure("ratings committed, SQLite", puts, "a second", 500, most=False),
            Figure("ratings committed, SQLite, 99th percentile", p99, "ms"),
            Figure("answered as asked", min(good, stored), "of all", 1, most=False),
        ]
    if args.postgres:
        port = free_port()
        with running(serve(folder / "postgres", port, "--demo", "--db", args.postgres, *workers), port):
            rate, p99, good = load(port, [recommendation] * CONNECTIONS, 671, seconds)
            figures.append(Figure("bundled model on PostgreSQL, recommendations", rate, "a second"))
            puts, p99, stored = load(port, [rating] * CONNECTIONS, 671, seconds)
            figures += [
                Figure("ratings committed, PostgreSQL", puts, "a second", 500, most=False),
                Figure("ratings committed, PostgreSQL, 99th percentile", p99, "ms"),
                Figure("PostgreSQL, answered as asked", min(good, stored), "of all", 1, most=False),
            ]
    return figures


def soak(args: Any, folder: Path) -> list[Figure]:
    """Memory in the second tenth of the time against that in the last."""
    port = free_port()
    with running(serve(folder / "soak", port, "--demo", "--workers", str(args.workers)), port) as process:
        load(port, [recommendation, rating], 671, 5)
        context = multiprocessing.get_context("fork")
        told = context.Queue()
        makes: list[Make] = [recommendation, recommendation, recommendation, rating]
        clients = [
            context.Process(target=client, args=(port, make, 671, args.soak, 0.005, k, told))
            for k, make in enumerate(makes)
        ]
        for one in clients:
            one.start()
        begin, seen = time.perf_counter(), []
        while (at := time.perf_counter() - begin) < args.soak:
            seen.append((at, memory(process)))
            time.sleep(min(1.0, args.soak / 40))
        found = [told.get() for _ in clients]
        for one in clients:
            one.join()
    early = np.mean([size for at, size in seen if 0.1 < at / args.soak < 0.2])
    late = np.mean([size for at, size in seen if at / args.soak > 0.9])
    requests, name = sum(len(some) for some, _ in found), f"soak of {args.soak:g} s"
    return [
        Figure(f"{name}, requests", requests, "requests"),
        Figure(f"{name}, memory at the end", float(late), "MiB"),
        Figure(f"{name}, memory at the end / soon after the start", float(late / early), "times", 1.05),
        Figure(
            f"{name}, answered as asked", 1 - sum(bad for _, bad in found) / requests, "of all", 1, most=False
        ),
    ]


def large(folder: Path, seconds: float, n_items: int, rank: int) -> list[Figure]:
    """A catalogue of random factors."""
    rng = np.random.default_rng(0)
    users, each = 200, 40
    model = cf.ALS(rank=rank)
    model.item_factors_ = rng.normal(0, 0.3, (n_items, rank)).astype(np.float32)
    model.item_bias_ = rng.normal(0, 0.3, n_items).astype(np.float32)
    model.item_ids_ = IdMap(np.arange(1, n_items + 1))
    model.user_ids_ = IdMap(np.arange(1, users + 1))
    places = np.concatenate([np.sort(rng.choice(n_items, each, replace=False)) for _ in range(users)])
    values = rng.integers(1, 6, users * each).astype(np.float32)
    model.ratings_ = Compressed(np.arange(0, users * each + 1, each), places.astype(np.int32), values)
    model.mean_, model.scale_, model.objective_ = 3.3, (1.0, 5.0), np.zeros(1)
    model.user_factors_, model.user_bias_ = model.solve_users(model.ratings_)
    cf.save(model, folder / "large-model")
    port = free_port()
    with running(serve(folder / "large", port, str(folder / "large-model")), port) as process:
        load(port, [recommendation], users, 1)
        rate, p99, good = load(port, [recommendation] * 4, users, seconds, every=4 / 50)
        size = memory(process)
    where = f"{n_items:,} items × {rank}"
    return [
        Figure(f"{where}, requests on the clock", rate, "a second"),
        Figure(f"{where}, 99th percentile", p99, "ms", 50),
        Figure(f"{where}, memory", size, "MiB", 1000),
        Figure(f"{where}, answered as asked", good, "of all", 1, most=False),
    ]


def beside_implicit(args: Any, folder: Path, seconds: float) -> list[Figure]:
    """One process each, alternating."""
    ratings = cf.load_demo()
    table = folder / "ratings.npz"
    np.savez(table, users=ratings.user_positions, items=ratings.by_user.indices, values=ratings.values)
    rates: dict[str, list[float]] = {"cofactor": [], "implicit": []}
    for _ in range(5):
        for name in rates:
            port = free_port()
            command = serve(folder / "demo-alone", port, "--demo")
            if name == "implicit":
                command = [args.implicit, str(PEER), str(table), str(port)]
            with running(command, port):
                load(port, [recommendation] * CONNECTIONS, 671, 1)
                rates[name].append(load(port, [recommendation] * CONNECTIONS, 671, seconds)[0])
    ours, theirs = (float(np.median(rates[name])) for name in rates)
    return [
        Figure("one process, cofactor, recommendations", ours, "a second"),
        Figure("one process, implicit behind FastAPI, recommendations", theirs, "a second"),
        Figure("one process, cofactor / implicit behind FastAPI", ours / theirs, "times"),
    ]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--workers", type=int, default=2, help="processes that answer [2]")
    options.add_argument("--postgres", default="", help="URL of an empty PostgreSQL database")
    options.add_argument("--implicit", default="", help="a Python that has implicit, fastapi and uvicorn")
    options.add_argument("--soak", type=float, default=0, help="seconds of mixed load [0]")
    args = options.parse_args()
    seconds = 1.0 if args.quick else 10.0
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = bundled(args, folder, seconds)
        figures += large(folder, seconds, *((20_000, 16) if args.quick else LARGE))
        if args.implicit:
            figures += beside_implicit(args, folder, seconds / 2)
        if args.soak:
            figures += soak(args, folder)
    show(figures, args.json, [f"{args.workers} processes answer, {CONNECTIONS} connections"])


if __name__ == "__main__":
    main()
