"""A server's answer → the value it holds, or the error it means; how long to wait for another one."""

from typing import TypeVar

import httpx

from m2d_clap.model.errors import ClapError
from m2d_clap.service.calls import Call

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0


class ClientError(ClapError):
    """The server could not be reached, or answered something else than this API."""


class RefusedError(ClientError):
    """The server said no. type: as "/problems/unknown-clip"; status: of HTTP; detail: its words."""

    def __init__(self, type_: str, status: int, detail: str) -> None:
        super().__init__(detail)
        self.type = type_
        self.status = status
        self.detail = detail


def pause(response: httpx.Response, attempt: int) -> float:
    """Seconds: what the server asks for, or ever more."""
    asked = response.headers.get("retry-after", "")
    own = _FIRST_PAUSE * 2.0**attempt
    return min(max(float(asked) if asked.isdecimal() else 0.0, own), _LONGEST_PAUSE)


def read(call: Call[T], response: httpx.Response) -> T:
    if not response.is_success:
        raise _refused(response)
    try:
        return call.read(response.content)
    except ValueError as error:
        raise ClientError(f"{response.url} answered something else: is it m2d-clap?") from error


def _refused(response: httpx.Response) -> ClientError:
    status = response.status_code
    try:
        body = response.json()
        if call_error := body.get("error"):
            name = str(call_error["code"]).replace("_", "-")
            return RefusedError(f"/problems/{name}", status, str(call_error["message"]))
        return RefusedError(str(body["type"]), status, str(body["detail"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        place = response.headers.get("location")
        if place is not None:  # not followed: a key would go where it was not meant to
            return ClientError(f"{response.url} sends elsewhere ({status}), to {place}: ask there")
        return ClientError(f"{response.url} answered {status}: is it m2d-clap?")


def unreachable(error: httpx.HTTPError) -> ClientError:
    where = error.request.url
    return ClientError(f"{where} does not answer ({error or type(error).__name__}): is it running?")
