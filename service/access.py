"""Who may ask, and how often: API keys, their scopes, and rate limits, before anything is read."""

import ipaddress
import math
import time

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m2d_clap.service import logs, problems
from m2d_clap.service.errors import RateLimitError, ScopeError, ServiceError, UnknownKeyError
from m2d_clap.service.keys import Key, KeyFile

_UNCOUNTED = "/metrics"  # a scrape every few seconds is no user of the limit
_SWEEP = 60.0
GUARDED = ("/v1/", "/metrics")  # not the probes, the page and the description of the API
_WRITING = ("PUT", "PATCH", "DELETE")
_WRITTEN_TO = ("/v1/clips",)  # other POSTs only ask


class Access:
    """ASGI middleware. keys: None lets everybody in; rate: as "60/minute", None is no limit."""

    def __init__(self, app: ASGIApp, keys: KeyFile | None, rate: str | None) -> None:
        self._app = app
        self._keys = keys
        self._rates = parse_many(rate) if rate else []
        self._counts = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._counts)
        self._swept = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and scope["path"].startswith(GUARDED)
        if not guarded or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        key = self._key(request)
        headers: dict[str, str] = {}
        try:
            if scope["path"] != _UNCOUNTED:
                headers = self._count(f"key {key.id}" if key else f"address {_network(request)}")
            if self._keys is not None:
                _permit(key, request.method, request.url.path)
        except ServiceError as error:
            refusal = problems.refusal(request, error)
            if isinstance(error, RateLimitError):
                headers = self._standing(error.rate, error.who)
                refusal.headers["Retry-After"] = headers["RateLimit-Reset"]
            if isinstance(error, UnknownKeyError):
                refusal.headers["WWW-Authenticate"] = "Bearer"
            refusal.headers.update(headers)
            await refusal(scope, receive, send)
            return
        if key is not None:
            logs.note(key=key.id)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, sending)

    def _key(self, request: Request) -> Key | None:
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        if self._keys is None or kind.lower() != "bearer":
            return None
        return self._keys.find(shown.strip())

    def _count(self, who: str) -> dict[str, str]:
        """Counts a request; the headers of the tightest limit. Raises RateLimitError."""
        self._sweep()
        for rate in self._rates:
            if not self._limiter.test(rate, who):
                raise RateLimitError(rate, who)
        for rate in self._rates:
            self._limiter.hit(rate, who)
        if not self._rates:
            return {}
        tightest = min(
            self._rates, key=lambda rate: self._limiter.get_window_stats(rate, who).remaining
        )
        return self._standing(tightest, who)

    def _sweep(self) -> None:
        """Forgets who has not asked lately: the storage empties its lists of them, and keeps those."""
        if time.monotonic() - self._swept < _SWEEP:
            return
        self._swept = time.monotonic()
        events = self._counts.events
        for who in [who for who, times in list(events.items()) if not times]:
            events.pop(who, None)

    def _standing(self, rate: RateLimitItem, who: str) -> dict[str, str]:
        window = self._limiter.get_window_stats(rate, who)
        return {
            "RateLimit-Policy": ", ".join(f"{r.amount};w={r.get_expiry()}" for r in self._rates),
            "RateLimit-Limit": str(rate.amount),
            "RateLimit-Remaining": str(max(0, window.remaining)),
            "RateLimit-Reset": str(max(1, math.ceil(window.reset_time - time.time()))),
        }


def _permit(key: Key | None, method: str, path: str) -> None:
    if key is None:
        raise UnknownKeyError("send a valid API key as `Authorization: Bearer KEY`")
    writing = method in _WRITING or (method == "POST" and path.rstrip("/") in _WRITTEN_TO)
    needed = "write" if writing else "read"
    if needed not in key.scopes:
        raise ScopeError(f"this key has no scope {needed!r}")


def _network(request: Request) -> str:
    """The address; of IPv6 the /64, which one customer has to himself."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6 and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.version == 6:
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    return host
