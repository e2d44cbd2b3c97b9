"""Work ahead in another thread."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T], ahead: int = 2) -> Generator[T, None, None]:
    """Runs a generator in a thread of its own, some items ahead of its consumer.

    What it raises is raised here. Close the result, or go through to its end: then the thread has
    ended and the generator is closed.

    Args:
      items: The generator.
      ahead: Number of items that may wait.
    """
    ready: queue.Queue = queue.Queue(ahead)  # of items, and at last the end and what was raised
    stop, end = threading.Event(), object()

    def work() -> None:
        failure = None
        try:
            for item in items:
                if stop.is_set():
                    break
                ready.put((item, None))
        except BaseException as error:
            failure = error
        finally:
            if isinstance(items, Generator):
                items.close()
            ready.put((end, failure))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, failure = ready.get()
            if failure is not None:
                raise failure
            if item is end:
                return
            yield item
    finally:
        stop.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                ready.get(timeout=0.01)  # makes room for what the thread is about to put
