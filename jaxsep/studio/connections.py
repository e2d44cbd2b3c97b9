"""Connections that nobody uses are closed, for the system allows only so many."""

from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_SECONDS = 10  # that a connection may be without a request


class Connection(H11Protocol):
    """An HTTP connection that is closed when no request has been under way for a while.

    uvicorn closes it between requests, but waits for ever for the first one, for one that comes
    byte by byte, and for the rest of one that is answered already.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look(object())

    def _look(self, seen: object) -> None:
        """Closes the connection if it is as idle as at the last look, when `seen` was its state."""
        if self.transport.is_closing():
            return self.transport.abort()  # even if something isn't sent yet
        is_busy = self.cycle is not None and not self.cycle.response_complete
        state = object() if is_busy else self.cycle
        if state is seen:
            self.transport.close()
        self.loop.call_later(IDLE_SECONDS, self._look, state)
