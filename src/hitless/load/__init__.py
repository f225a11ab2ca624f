"""Keep-alive HTTP/1.1 load that tells apart how a server fails its clients.

Reloads hurt on connections that are *re-used*: the server closes one that looks idle, and the client's next
request meets the close. A generator that opens a connection per request cannot see it. This one keeps its
connections, never retries (a retry would hide the failure), and counts each way of failing apart
(:class:`Failure`).

    async with Load("http://127.0.0.1:8000", clients=64, think=(0, 3)) as load:
        await load.warm(10)
        load.step("reload")
        ...
    report = await load.stop()
    assert report.failed == 0 and report.closed_by_server == 0
"""

from __future__ import annotations

from hitless.load.ask import ask
from hitless.load.exchange import Request, Response
from hitless.load.failure import Failure, How, LoadError, RequestFailed, ServerClose
from hitless.load.load import Limits, Load
from hitless.load.mix import Share, get, post, round_trip
from hitless.load.report import FailedRequest, Latency, Report, Samples, StepReport
from hitless.load.target import Target

__all__ = [
    "FailedRequest",
    "Failure",
    "How",
    "Latency",
    "Limits",
    "Load",
    "LoadError",
    "Report",
    "Request",
    "RequestFailed",
    "Response",
    "Samples",
    "ServerClose",
    "Share",
    "StepReport",
    "Target",
    "ask",
    "get",
    "post",
    "round_trip",
]
