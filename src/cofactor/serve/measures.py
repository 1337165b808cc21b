"""What Prometheus is told. With several processes their numbers are added up (``PROMETHEUS_MULTIPROC_DIR``)."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

REQUESTS = Counter("cofactor_requests", "Requests answered.", ["route", "method", "status"])
LATENCY = Histogram(
    "cofactor_request_seconds", "Seconds until a request was answered.", ["route"], buckets=SECONDS
)
ANSWERS = Counter("cofactor_answers", "Lists of recommendations, by what they were made of.", ["source"])
WRITTEN = Counter("cofactor_ratings_written", "Ratings stored or taken back.")
EVENTS = Counter("cofactor_events", "Events noted.", ["kind"])
MODEL = Gauge("cofactor_model_version", "Version of the model that answers.", multiprocess_mode="max")


def exposition() -> bytes:
    """All numbers in Prometheus's text format."""
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
