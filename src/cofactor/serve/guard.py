"""What happens to a request before and after its route: ids, limits, headers, numbers and the log."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import OrderedDict
from urllib.parse import quote, unquote

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cofactor.serve import measures, problems
from cofactor.serve.service import Service

log = logging.getLogger("cofactor.serve")

_SAFE = ":@!$&'()*+,;=~-._"  # of a path; everything else is percent-encoded
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", PAGE_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class TooLarge(HTTPException):
    """More was sent than is read."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"At most {limit:,} bytes are read.", {"Connection": "close"})


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Around an app."""
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                took = (time.perf_counter() - begun) * 1000
                message["headers"] = [
                    *message.get("headers", ()),
                    *_HEADERS,
                    (b"x-request-id", request_id.encode()),
                    (b"server-timing", b"total;dur=%.2f" % took),
                ]
                if scope["path"].startswith("/v1"):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        settings = self._service.settings
        batch = scope["path"] == "/v1/ratings:batch"
        limit = settings.batch_limit if batch else settings.body_limit
        try:
            problem = self._refused(scope, headers, limit)
            if problem is not None:
                await _send_problem(answer, *problem, request_id)
            else:
                async with asyncio.timeout(settings.time_limit * (10 if batch else 1)):
                    await self._app(scope, _limited(receive, limit), answer)
        except TimeoutError:
            if not status:
                await _send_problem(answer, 503, "It took too long. Try again, or ask for less.", request_id)
        except Exception as error:
            log.error("unexpected", exc_info=error, extra={"request_id": request_id})
            if not status:
                text = "This should not happen: please report it, with what the log says."
                await _send_problem(answer, 500, text, request_id)
        finally:
            self._note(scope, request_id, status, time.perf_counter() - begun)

    def _refused(self, scope: Scope, headers: dict[bytes, bytes], limit: int) -> tuple[int, str] | None:
        allowed = self._service.settings.allowed_hosts
        host = headers.get(b"host", b"").decode("latin-1").lower()
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if allowed and host not in allowed:  # a page elsewhere may have let its own name point here
            return 421, "This service does not go by that name. --allow-host adds one."
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            return 413, f"At most {limit:,} bytes are read."
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        try:
            # Segment by segment and still encoded, so that a "/" in an id is not one between segments.
            parts = [unquote(part, errors="strict") for part in raw.decode("ascii").split("?")[0].split("/")]
        except UnicodeDecodeError:
            return 400, "The path is not UTF-8."
        scope["path"] = "/".join(quote(part, safe=_SAFE) for part in parts)
        return None

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or ("static" if status < 400 else "none")
        method = scope["method"] if scope["method"] in ("GET", "PUT", "POST", "DELETE") else "OTHER"
        measures.REQUESTS.labels(route, method, status or 499).inc()
        measures.LATENCY.labels(route).observe(seconds)
        self._service.latencies.append((time.monotonic(), seconds))
        if log.isEnabledFor(logging.INFO):
            facts = {"request_id": request_id, "method": method, "route": route, "status": status or 499}
            log.info("request", extra={**facts, "milliseconds": round(seconds * 1000, 2)})


def _request_id(given: bytes) -> str:
    """What the caller names the request, if that is a plain word; else a new name."""
    text = given.decode("latin-1")
    return (
        text
        if 8 <= len(text) <= 64 and text.isascii() and text.replace("-", "").isalnum()
        else secrets.token_hex(8)
    )


def _limited(receive: Receive, limit: int) -> Receive:
    """``receive``, which refuses to go on beyond so many bytes."""
    left = limit

    async def some() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge(limit)
        return message

    return some


async def _send_problem(send: Send, status: int, detail: str, request_id: str) -> None:
    content = json.dumps(problems.body(status, detail, request_id)).encode()
    headers = [
        (b"content-type", problems.MEDIA.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),  # what was sent with it is not read
    ]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class Buckets:
    """Token buckets: each caller may make ``rate`` requests a second, and as many at once after a second's rest."""

    MOST = 10_000  # callers remembered

    def __init__(self, rate: float) -> None:
        """For any number of callers."""
        self._rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> float:
        """Seconds until this caller may make a request; 0: now, and it is counted."""
        if self._rate <= 0:
            return 0.0
        at = time.monotonic()
        left, since = self._left.pop(caller, (max(self._rate, 1.0), at))
        left = min(left + (at - since) * self._rate, max(self._rate, 1.0))
        allowed = left >= 1
        self._left[caller] = (left - 1 if allowed else left, at)
        if len(self._left) > self.MOST:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate
