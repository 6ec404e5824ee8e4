"""Runs the application under uvicorn, on a socket bound beforehand."""

import contextlib
import errno
import gc
import ipaddress
import socket

import uvicorn

from m2d_clap.service import logs
from m2d_clap.service.app import create_app
from m2d_clap.service.engine import Engine
from m2d_clap.service.errors import ServiceError
from m2d_clap.service.protocol import Http


class PortError(ServiceError):
    """No socket could be bound there."""


def bind(host: str, port: int, tries: int = 1) -> socket.socket:
    """A listening socket at the first free of `tries` ports from `port` (0: any). Raises PortError."""
    try:
        family, kind, proto, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise PortError(f"there is no host {host!r} ({error}): choose another --host") from error
    for candidate in range(port, port + tries):
        bound = socket.socket(family, kind, proto)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, candidate))
            bound.listen(socket.SOMAXCONN)
        except OSError as error:
            bound.close()
            if error.errno == errno.EADDRINUSE and candidate + 1 < port + tries:
                continue
            raise PortError(
                f"cannot listen on {host}, port {candidate}: {error.strerror}; choose another --port"
            ) from error
        return bound
    raise PortError(f"no port is free from {port} on")


def url(listening: socket.socket) -> str:
    """Where a client finds a bound socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(engine: Engine) -> uvicorn.Server:
    """To be awaited with `serve(sockets=[…])`; finishes open requests when told to stop."""
    settings = engine.settings
    logs.install(settings.log_level)
    return uvicorn.Server(
        uvicorn.Config(
            create_app(engine),
            http=Http,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
    )


def run(engine: Engine, listening: socket.socket) -> None:
    """Serves until Ctrl-C or SIGTERM."""
    serving = server(engine)
    # Out of the collector's sight: what is there now lives as long as the process.
    gc.collect()
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):
        serving.run(sockets=[listening])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
