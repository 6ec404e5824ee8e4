"""A run that is asked to end (SIGTERM, Ctrl-C) ends behind the step it is in, to be saved there."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from m2d_clap.training import distributed

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Inside `with`, these signals are remembered. A second Ctrl-C ends at once, but where torchrun
    started several processes: it passes each signal on, so that they come twice."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others may set no handlers
            self._before = {each: signal.signal(each, self._remember) for each in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each, handler in self._before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)

    def asked(self) -> bool:
        """Whether any process was asked to end; all must ask."""
        return not distributed.everywhere(not self._asked)

    def _remember(self, number: int, _: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT and distributed.started() == 1:
            raise KeyboardInterrupt
        self._asked = True
