"""Errors as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cofactor.errors import CofactorError
from cofactor.serve.store.database import StoreFull, StoreUnavailable

MEDIA = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "A key is needed",
    403: "This key does not open that",
    404: "Not found",
    405: "Method not allowed",
    409: "In the way of something else",
    413: "Too large",
    415: "Unknown kind of content",
    421: "Unknown host",
    422: "Not usable",
    429: "Too many requests",
    500: "Our mistake",
    503: "Not now",
    507: "Disk full",
}


class Problem(BaseModel):
    """What went wrong."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no item '260x'."])
    request_id: str = Field(examples=["0f8c6d1e2b3a4c5d"])


class Refused(Exception):
    """An answer that is a problem."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def body(status: int, detail: str, request_id: str) -> dict[str, Any]:
    """The JSON of a problem."""
    title = _TITLES.get(status, "Refused")
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }


def install(app: FastAPI) -> None:
    """Let every error of an app be answered as a problem."""

    def answer(request: Request, status: int, detail: str, headers: Any = None) -> JSONResponse:
        request_id = request.scope.get("request_id", "")
        return JSONResponse(body(status, detail, request_id), status, headers, media_type=MEDIA)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refused)
        return answer(request, error.status, error.detail, error.headers)

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        detail = (
            "There is nothing here. /openapi.json tells what there is."
            if error.status_code == 404
            else str(error.detail)
        )
        return answer(request, error.status_code, detail, error.headers)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        parts = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
        return answer(request, 422, "; ".join(parts)[:1000])

    async def unavailable(request: Request, error: Exception) -> JSONResponse:
        return answer(request, 503, str(error), {"Retry-After": "1"})

    async def full(request: Request, error: Exception) -> JSONResponse:
        return answer(request, 507, str(error))

    async def ours(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, CofactorError)
        return answer(request, 422, str(error))

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(StoreUnavailable, unavailable)
    app.add_exception_handler(StoreFull, full)
    app.add_exception_handler(CofactorError, ours)
