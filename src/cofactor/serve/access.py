"""Who may do what: keys, their scopes, and how often."""

from __future__ import annotations

import hmac
import math
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from cofactor.serve.problems import Refused
from cofactor.serve.service import Service
from cofactor.serve.store.keys import SCOPES, digest

_bearer = HTTPBearer(
    auto_error=False, description="A key made by `cofactor keys create`. None is needed before that."
)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def scope_of(service: Service, header: str | None) -> tuple[int | None, str]:
    """The key and its scope; all is open where no key was ever made. Raises ``Refused``."""
    needed, valid = service.keys()
    if not needed:
        return None, "admin"
    kind, _, key = (header or "").partition(" ")
    if kind.lower() != "bearer" or not key:
        raise Refused(401, "Send a key: `Authorization: Bearer cfk_…`.", WWW_Authenticate="Bearer")
    given, found = digest(key.strip()), None
    for stored, whose in valid.items():
        if hmac.compare_digest(stored, given):  # all are compared, in constant time
            found = whose
    if found is None:
        raise Refused(401, "This key is not valid. It may have been revoked.", WWW_Authenticate="Bearer")
    return found


def _count(request: Request, caller: str) -> None:
    wait = request.app.state.buckets.wait(caller)
    if wait > 0:
        raise Refused(429, "Too many requests. Wait a little.", Retry_After=str(math.ceil(wait)))


def needs(scope: str) -> Any:
    """A dependency: the caller has a key of this scope or a higher one, and has not called too often."""

    async def check(request: Request, _shown: Annotated[Any, Depends(_bearer)]) -> None:
        address = request.client.host if request.client else ""
        try:
            key, has = scope_of(service_of(request), request.headers.get("authorization"))
        except Refused:
            _count(request, address)  # who tries keys is slowed down as well
            raise
        _count(request, address if key is None else f"key {key}")
        if SCOPES.index(has) < SCOPES.index(scope):
            raise Refused(403, f"This key may {has}; a key that may {scope} is needed.")

    return Depends(check)
