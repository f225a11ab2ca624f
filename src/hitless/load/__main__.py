"""``python -m hitless.load URL``: a load as a process of its own, for benchmarks and for a look by hand.

With ``--steps`` every line on standard input begins a step of that name, and the end of the input ends the
load; so the process that reloads the server marks when it did, and does none of its own work in the process
that measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
from collections.abc import Sequence

import uvloop

from hitless.load.failure import LoadError
from hitless.load.load import Limits, Load
from hitless.load.mix import Share, get, post, round_trip
from hitless.load.report import Report


def main() -> None:
    """Run the load that the command line describes; exit 1 if a request failed, 2 if the load makes no
    sense."""
    options = _parser().parse_args()
    _raise_descriptor_limit()
    try:
        report = uvloop.run(_run(options))
    except (LoadError, TimeoutError) as error:
        print(f"hitless.load: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(report.as_json()) if options.json else _text(report))
    sys.exit(1 if report.failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m hitless.load", description="Keep-alive load on an HTTP/1.1 service."
    )
    add = parser.add_argument
    add("url", nargs="+", help="http://host:port/path, https://… or unix:/path")
    add("--clients", type=int, default=64)
    add("--seconds", type=float, default=10.0, help="length of the load")
    add(
        "--think",
        type=_range,
        default=(0.0, 0.0),
        metavar="MIN:MAX",
        help="seconds between answer and next request",
    )
    add("--timeout", type=float, default=10.0, help="deadline of one request in seconds")
    add(
        "--posts",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of requests that are POSTs with a body, 0 to 1",
    )
    add(
        "--body",
        type=int,
        default=4096,
        metavar="BYTES",
        help="size of a POST's body",
    )
    add(
        "--chunked",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of the POSTs whose body goes in chunks",
    )
    add(
        "--round-trips", metavar="PREFIX", help="PUT, GET, compare, DELETE under this path, one share in four"
    )
    add("--blind", action="store_true", help="do not look at idle connections, as http.client does not")
    add("--seed", type=int, default=0)
    add(
        "--steps",
        action="store_true",
        help="each line of standard input begins a step; its end ends the load",
    )
    add("--json", action="store_true")
    return parser


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition(":")
    return float(least), float(most or least)


async def _run(options: argparse.Namespace) -> Report:
    load = Load(
        options.url,
        clients=options.clients,
        think=options.think,
        mix=_mix(options),
        limits=Limits(options.timeout, seconds=options.seconds),
        blind=options.blind,
        seed=options.seed,
    )
    async with load:
        if options.steps:
            await load.warm(options.timeout)
            print("warm", file=sys.stderr, flush=True)
            await _follow(load)
        else:
            await load.done()
    return await load.stop()


def _mix(options: argparse.Namespace) -> Sequence[Share]:
    mix = [Share(1.0 - options.posts, get())]
    if options.posts:
        mix.append(Share(options.posts, post(size=options.body, chunked=options.chunked)))
    if options.round_trips:
        mix.append(Share(1 / 3, round_trip(options.round_trips)))
    return mix


async def _follow(load: Load) -> None:
    """Begin a step at each line of standard input, until it ends or the load does."""
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    ended = asyncio.create_task(load.done())
    while not ended.done():
        line = asyncio.create_task(lines.readline())
        await asyncio.wait((line, ended), return_when=asyncio.FIRST_COMPLETED)
        if not line.done() or not line.result():
            line.cancel()
            break
        load.step(line.result().decode().strip())
    ended.cancel()


def _raise_descriptor_limit() -> None:
    """10,000 clients need 10,000 descriptors; the usual soft limit is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _text(report: Report) -> str:
    lines = []
    for step in (*report.steps, report.total):
        latency = step.latency
        failures = " ".join(f"{failure}={count}" for failure, count in step.failures.items())
        closes = " ".join(f"{close}={count}" for close, count in step.closes.items())
        lines.append(
            f"{step.name}: requests={step.requests} failed={step.failed} {failures} "
            f"closed_by_server={step.closed_by_server} {closes} "
            f"p50={latency.p50_ms:.1f}ms p99.9={latency.p999_ms:.1f}ms max={latency.max_ms:.1f}ms"
        )
    lines.append(
        f"clients whose first connection did not last: {report.reopened} of {len(report.connections)}"
    )
    return "\n".join(" ".join(line.split()) for line in lines)


if __name__ == "__main__":
    main()
