"""Connections that have to come to the point: uvicorn waits for a request's head for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


def patient_for(seconds: float, head_bytes: int) -> type[HttpToolsProtocol]:
    """A protocol for ``uvicorn.Config(http=...)``.

    Parameters
    ----------
    seconds
        For the head of a request to arrive, from the connection on, or from its own first byte.
    head_bytes
        Size of a head, up to what a piece that is read at once adds.
    """

    class Connection(HttpToolsProtocol):
        _patience: asyncio.TimerHandle | None = None
        _head = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._patience is not None:
                self._head += len(data)
            super().data_received(data)
            if self._patience is not None and self._head > head_bytes:
                self.transport.write(_TOO_LARGE)
                self._give_up()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._wait()

        def on_headers_complete(self) -> None:
            self._stop_waiting()
            super().on_headers_complete()

        def _wait(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
            self._patience = self.loop.call_later(seconds, self._give_up)

        def _stop_waiting(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
            self._patience, self._head = None, 0

        def _give_up(self) -> None:
            self._stop_waiting()
            if not self.transport.is_closing():
                self.transport.close()

    return Connection
