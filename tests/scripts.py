"""What several tests have a server or a caller do."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aioreq.testing import Exchange, script


@script
async def held(exchange: Exchange) -> None:
    """Answer when the test says so; "held" is where it waits, and what it is released by."""
    exchange.mark("held")
    await exchange.pause("held")
    await exchange.answer()


async def cancelled_after(turns: int, call: Coroutine[Any, Any, str]) -> str:
    """Cancel a call after some turns of the loop, which may be before, in the middle of, or behind everything.

    Returns:
        What the call did, or "cancelled".
    """
    task = asyncio.create_task(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return "cancelled"
