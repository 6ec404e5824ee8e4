"""The decoding process of the indexer: paths → windows of samples.

`python -m m2d_clap.index.decoding FD` reads files that are named on the socket FD until its other
end closes. Only plain values and samples go through the socket: what a damaged file may do to this
process reaches nothing else. A file is asked for as {"path", "rate"} and answered {"sha256",
"facts", "read"}; then {"go": true} by {"start", "end", "read"} and the samples of each
window, and {"ended", "damage"}, {"go": false} by nothing; or by {"error", "lasting"} anywhere.
"""

import json
import signal
import sys
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from m2d_clap.index.busy import Busy
from m2d_clap.index.reading import OpenFile, Unreadable


def main(descriptor: int) -> None:
    # The indexer ends this process, when it needs it no more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as indexer:
        while True:
            try:
                asked = json.loads(indexer.recv_bytes())
                _answer(indexer, Path(asked["path"]), asked["rate"])
            except (EOFError, OSError):
                return


def _answer(indexer: Connection, file: Path, rate: int) -> None:
    busy = Seconds()
    try:
        with closing(OpenFile(file, rate, busy)) as sound:
            known = {"sha256": sound.opened.sha256, "facts": dict(sound.opened.facts)}
            _send(indexer, {**known, "busy": busy.taken()})
            if json.loads(indexer.recv_bytes())["go"]:
                for window, read in sound.windows():
                    told = {"start": window.start, "end": window.end, "read": read}
                    _send(indexer, {**told, "busy": busy.taken()})
                    indexer.send_bytes(window.samples.tobytes())
                ended = {"ended": True, "damage": sound.damage}
                _send(indexer, {**ended, "busy": busy.taken()})
    except Unreadable as error:
        _send(indexer, {"error": str(error), "lasting": error.lasting, "busy": busy.taken()})


class Seconds(Busy):
    """What each part worked since it was last asked."""

    def __init__(self) -> None:
        super().__init__(1)

    def taken(self) -> dict[str, float]:
        with self._lock:
            found = {part: seconds for part, seconds in self._seconds.items() if seconds}
            self._seconds = dict.fromkeys(self._seconds, 0.0)
        return found


def _send(indexer: Connection, message: dict[str, Any]) -> None:
    indexer.send_bytes(json.dumps(message).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
