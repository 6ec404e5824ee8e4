"""What the service can refuse, besides what the model and the index refuse."""

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from m2d_clap.model.errors import AudioError, ClapError

if TYPE_CHECKING:
    from limits import RateLimitItem


class ServiceError(ClapError):
    """Base of the service's own errors."""


class BodyTooLargeError(ServiceError, HTTPException):
    """A request body of more bytes than the server takes.

    An HTTPException too: FastAPI turns any other error of the body's reader into a 400.
    """

    def __init__(self, most: int) -> None:
        HTTPException.__init__(self, 413, f"the body is larger than {most:,} bytes")

    def __str__(self) -> str:
        return self.detail


class BusyError(ServiceError):
    """A queue is full."""


class AudioTooCostlyError(ServiceError, AudioError):
    """Decoding a sound needs more time or memory than the server gives it."""


class DecoderDownError(ServiceError):
    """The process that decoded this sound was ended from outside; another takes its place."""


class WorkerDownError(ServiceError):
    """The encoding process is starting, or died; the message says which and why."""


class EncodingError(ServiceError):
    """The encoders failed on one input."""


class UnknownClipError(ServiceError):
    """No clip of the index has this id."""


class ClipFileGoneError(ServiceError):
    """The clip is known, but its file is no longer where it was indexed."""


class ReadOnlyError(ServiceError):
    """This server adds and deletes nothing."""


class CursorError(ServiceError):
    """A cursor that is none, or belongs to another question or model."""


class NoDirectionError(ServiceError):
    """A question whose parts cancel each other out, or that has none."""


class NoHeadError(ServiceError):
    """The checkpoint has no trained head."""


class UnknownKeyError(ServiceError):
    """A request without an API key, or with one that is unknown or revoked."""


class ScopeError(ServiceError):
    """The API key may not do this."""


class RateLimitError(ServiceError):
    """`who`, a key or an address, has asked more often than `rate` allows."""

    def __init__(self, rate: "RateLimitItem", who: str) -> None:
        super().__init__(f"more than {rate}: wait before you ask again")
        self.rate, self.who = rate, who
