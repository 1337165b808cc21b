"""The description of the service, and requests drawn from it: whatever comes, no answer is 500."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cofactor.serve.settings import Settings
from tests.serve.conftest import Running, fill, running

MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    response_schema_conformance,
    response_headers_conformance,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, saved: Path):
    folder = tmp_path_factory.mktemp("openapi")
    fill(Settings(folder=str(folder)), saved)
    with running(folder) as found:
        yield found


def test_every_route_is_described(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        assert path.startswith("/v1/")
        for method, operation in methods.items():
            assert operation["description"], (path, method)
            assert {"401", "403", "422", "503"} <= set(operation["responses"]), (path, method)
            good = [code for code in operation["responses"] if code.startswith("2")]
            assert len(good) == 1
    names = {path.removeprefix("/v1") for path in schema["paths"]}
    assert names == {
        "/ratings/{user}/{item}", "/ratings:batch", "/users/{user}/ratings", "/users/{user}",
        "/items", "/items/{item}", "/items/{item}/similar", "/map",
        "/users/{user}/recommendations", "/recommendations", "/predict", "/popular", "/events",
        "/models", "/models/{version}/quality", "/models/{version}:activate", "/models:rollback",
        "/jobs", "/jobs/train", "/jobs/{job}", "/operations", "/service",
    }  # fmt: skip


@pytest.fixture(scope="module")
def described(service: Running) -> Any:
    return schemathesis.openapi.from_url(service.url + "/openapi.json").exclude(
        path="/v1/jobs/train"
    )  # test_training


few = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def test_requests_drawn_from_the_description(described: Any) -> None:
    tried = 0
    for found in described.get_all_operations():
        operation = found.ok()

        @few
        @given(st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in MODES)))
        def check(case: schemathesis.Case) -> None:
            case.validate_response(case.call(), checks=CHECKS)

        check()
        tried += 1
    assert tried == 23


def test_requests_that_follow_each_other(described: Any) -> None:
    class Workflow(described.as_state_machine()):  # type: ignore[misc]
        def validate_response(self, response: Any, case: schemathesis.Case, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Workflow.run(settings=settings(few, stateful_step_count=10))
