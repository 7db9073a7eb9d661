"""How many results the server remembers."""

import threading
from typing import Any

MAX_RESULTS = 64
MAX_BYTES = 256 << 20


class BoundedResults(dict[str, tuple[Any, ...]]):
    """The latest results by query id: at most 64, and at most 256 MB of Arrow tables.

    Stock fakesnow keeps every result of every statement for ever (for RESULT_SCAN), which fills the memory of
    a server that runs for days.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._bytes = 0

    def __setitem__(self, query_id: str, result: tuple[Any, ...]) -> None:
        with self._lock:
            super().__setitem__(query_id, result)
            self._bytes += _size(result)
            while len(self) > 1 and (len(self) > MAX_RESULTS or self._bytes > MAX_BYTES):
                self._bytes -= _size(self.pop(next(iter(self))))


def _size(result: tuple[Any, ...]) -> int:
    return result[0].nbytes if result[0] is not None else 0
