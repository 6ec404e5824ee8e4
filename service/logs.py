"""Structured logs: one JSON object a line on stderr. They never hold audio, keys or bodies."""

import logging
import sys
from contextvars import ContextVar
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

NOTES: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)
"""What the layers below add to the line of the request they serve."""

_SHARED: list[Processor] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

# Only says that the standard library's loggers take the events, until `install` does the rest.
structlog.configure(
    processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=False,
)


def install(level: str) -> None:
    """Sends this process's logs, those of its libraries too, to stderr as JSON."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
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
