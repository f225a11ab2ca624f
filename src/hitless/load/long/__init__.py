"""Work that lasts longer than a reload: it survives, or says what cut it.

upload = asyncio.create_task(slow_upload(f"{url}/images/big", size=6_000_000, seconds=60))
...                       # reload, several times
ending = await upload
assert ending.survived, ending.reason
"""

from __future__ import annotations

from hitless.load.long.download import slow_download
from hitless.load.long.ending import Ending, Lost
from hitless.load.long.events import Event, EventStream
from hitless.load.long.upload import slow_upload
from hitless.load.long.websocket import WebSocket
from hitless.load.long.wire import Head, Wire

__all__ = [
    "Ending",
    "Event",
    "EventStream",
    "Head",
    "Lost",
    "WebSocket",
    "Wire",
    "slow_download",
    "slow_upload",
]
