"""Structured logs: one JSON object a line on stderr. They never hold audio, keys or bodies."""

import contextlib
import logging
import sys
from contextvars import ContextVar
from typing import Any, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

NOTES: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)
"""What the layers below add to the line of the request they serve."""

_SHARED: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_JSON: list[Processor] = [
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(ensure_ascii=False),
]

# Only says that the standard library's loggers take the events, until `install` does the rest.
structlog.configure(
    processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=False,
)


class _Stderr:
    """Whose reader may have gone: then lines are lost, and no request with them."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def install(level: str) -> None:
    """Sends this process's logs, those of its libraries too, to stderr as JSON."""
    # Our own go there straight: a line for each request is made often.
    structlog.configure(
        processors=[*_SHARED, *_JSON],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Stderr())),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_JSON,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("m2d_clap").setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def logger(name: str) -> FilteringBoundLogger:
    """Events with fields: `logger("m2d_clap.service.x").info("event", field=value)`."""
    return cast(FilteringBoundLogger, structlog.stdlib.get_logger(name))


def note(**fields: Any) -> None:
    """Adds fields to the line of the request being served; nothing outside of one."""
    notes = NOTES.get()
    if notes is not None:
        notes.update(fields)
