"""Requests read in a thread of their own, a few ahead: whoever writes them slowly keeps no answer waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress

from llm_atc.batch.lines import BatchRequest

_END = object()
JOIN_SECONDS = 1.0


class Feed:
    """Hands requests to several workers. To be made where the loop runs, and closed there."""

    def __init__(self, requests: Iterator[BatchRequest], ahead: int) -> None:
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[object] = asyncio.Queue()
        self._room = threading.Semaphore(ahead)
        self._over = False
        # A daemon: it may hang in a read of stdin that nobody can end.
        self._thread = threading.Thread(target=self._pump, name="batch-input", daemon=True)
        self._thread.start()

    async def next(self) -> BatchRequest | None:
        """The next request; None after the last. Raises what the reading raised."""
        found = await self._queue.get()
        if isinstance(found, BatchRequest):
            self._room.release()
            return found
        self._queue.put_nowait(found)  # for the other workers
        if isinstance(found, BaseException):
            raise found
        return None

    def close(self) -> None:
        """Read no more."""
        self._over = True
        self._room.release()
        self._thread.join(JOIN_SECONDS)

    def _pump(self) -> None:
        last: object = _END
        try:
            for request in self._requests:
                self._room.acquire()
                if self._over:
                    return
                self._tell(request)
        except BaseException as error:  # noqa: BLE001  it is raised again where it is awaited
            last = error
        self._tell(last)

    def _tell(self, found: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._queue.put_nowait, found)
