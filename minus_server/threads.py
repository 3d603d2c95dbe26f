"""Threads of their own for what asks the store of bytes: one that stalls takes nobody else's."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from minus_server.errors import StoreAway

AT_ONCE = 40
PATIENCE = 20  # seconds until one of them is free
_THREADS: RunVar[anyio.CapacityLimiter] = RunVar("threads of the store")
T = TypeVar("T")


async def in_store(work: Callable[..., T], *args: object, patience: float = PATIENCE) -> T:
    """Call what may ask the store. Raises StoreAway where no thread is free for so many seconds"""
    try:
        threads = _THREADS.get()
    except LookupError:
        threads = anyio.CapacityLimiter(AT_ONCE)
        _THREADS.set(threads)
    me = object()
    with anyio.move_on_after(patience) as waiting:
        await threads.acquire_on_behalf_of(me)
    if waiting.cancelled_caught:
        raise StoreAway("too many wait for the object store")
    try:
        # it has had its turn: a limiter of one's own lets it through at once
        return await anyio.to_thread.run_sync(
            partial(work, *args), limiter=anyio.CapacityLimiter(1)
        )
    finally:
        threads.release_on_behalf_of(me)
