"""Docker's HTTP API over a Unix socket, which Podman serves as well: the few calls that stopping and replacing need.

asyncio rather than threads: fifty containers are stopped at once, each waits for events, clocks, an operator who
extends or cancels, and a task can be cancelled where a thread cannot.

1. Every call has a deadline. Nothing here waits for a container: that is done by events (`hub.py`), because an engine
   call that waits holds a connection, and in some engines a lock, for as long.
2. Every call has a connection of its own. A request on a kept-alive one that the engine has closed meanwhile fails
   without telling whether it was read, and a signal that is sent twice is not the same as once.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal
from urllib.parse import quote

import httpx

from hitless.change import Deadline, DeadlinePassed
from hitless.containers.container import Container, RestartPolicy
from hitless.containers.dialect import Dialect, agree
from hitless.containers.errors import (
    Ambiguous,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnreachable,
    NoSuchContainer,
    NoSuchImage,
    NotRunning,
)
from hitless.containers.frames import demultiplexed

CALL_S: Final = 30.0
"""For one answer. A busy engine with many containers takes seconds to inspect one."""
CREATE_S: Final = 300.0
"""To create or remove: some storage drivers copy the whole image."""
LOG_LINES: Final = 20
LOG_LINE: Final = 500
"""Characters that are kept of one line of a log, its last ones."""
NOT_MODIFIED: Final = 304
NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""What engines take for a name or an id; anything else would be part of a path that means something else."""
LIBPOD: Final = "4.0.0"
"""The version of Podman's own API; it serves every older one."""

Method = Literal["GET", "POST", "DELETE", "PUT"]
Query = Mapping[str, str | int]


class Engine:
    """One engine; use as `async with Engine(path) as engine`."""

    def __init__(self, path: Path, *, call_s: float = CALL_S) -> None:
        self.path: Final = path
        self._call_s: Final = call_s
        self._dialect: Dialect | None = None
        self._http: Final = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(path),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            ),
            base_url="http://engine",
            timeout=httpx.Timeout(call_s),
            trust_env=False,
        )

    @property
    def dialect(self) -> Dialect:
        """Which engine it is, and in which version of the API we talk."""
        if self._dialect is None:
            raise RuntimeError("the engine was not connected")
        return self._dialect

    async def connect(self) -> Dialect:
        """Agree on a version.

        Raises:
            EngineUnreachable: nobody answers.
            EngineError: there is no version that both understand.
        """
        version = await self._json("GET", "/version")
        with self._understood():
            self._dialect = agree(version)
        return self._dialect

    async def __aenter__(self) -> Engine:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # looking

    async def names(self) -> list[tuple[str, str]]:
        """Id and name of every container, running or not."""
        rows = await self._json("GET", "/containers/json", {"all": "true"})
        with self._understood():
            return [
                (str(row["Id"]), str((row.get("Names") or [row["Id"][:12]])[0]).removeprefix("/"))
                for row in rows
            ]

    async def inspect(self, name: str) -> Container:
        """The container as it is now.

        Raises:
            NoSuchContainer: there is none.
        """
        if not NAME.fullmatch(name):
            raise NoSuchContainer(404, f"no container can have the name {name!r}")
        said = await self._json("GET", f"/containers/{name}/json")
        with self._understood():
            return Container.from_inspect(said)

    async def find(self, name: str) -> Container | None:
        """The container of this very name or id, or None; engines also take the beginning of an id for a name.

        Raises:
            Ambiguous: several ids begin so.
        """
        try:
            found = await self.inspect(name)
        except NoSuchContainer:
            return None
        except EngineRefused as error:
            if any(words in str(error) for words in ("multiple IDs found", "more than one result")):
                raise Ambiguous(
                    f"several containers have an id that begins with {name}; write more of it"
                ) from error
            raise
        return found if found.name == name or found.id.startswith(name) else None

    async def creation_command(self, id: str) -> tuple[str, ...]:  # noqa: A002
        """The command line that created it, where the engine (Podman) has kept it; else nothing."""
        found = await self._libpod(id)
        return tuple(str(word) for word in (found.get("Config") or {}).get("CreateCommand") or ())

    async def pod_of(self, id: str) -> str:  # noqa: A002
        """The id of the pod that it is in; empty for none, and where the engine has no pods."""
        if self.dialect.kind != "podman":
            return ""
        return str((await self._libpod(id)).get("Pod") or "")

    async def _libpod(self, id: str) -> Mapping[str, Any]:  # noqa: A002
        """What Podman's own API says of it; nothing where there is no such API."""
        try:
            found: Mapping[str, Any] = await self._json("GET", f"/v{LIBPOD}/libpod/containers/{id}/json")
        except EngineRefused:
            return {}
        return found

    async def image(self, name: str) -> Mapping[str, Any]:
        """What the engine knows of an image.

        Raises:
            NoSuchImage: it does not have it.
        """
        found: Mapping[str, Any] = await self._json("GET", f"/images/{quote(name, safe='/:@')}/json")
        return found

    async def processes(self, name: str) -> int:
        """How many processes run in the container."""
        answer = await self._json("GET", f"/containers/{quote(name)}/top")
        return len(answer.get("Processes") or ())

    async def log_tail(self, container: Container, lines: int = LOG_LINES) -> tuple[str, ...]:
        """The last lines that it wrote; nothing if its log driver cannot be read."""
        query = {"stdout": "true", "stderr": "true", "tail": str(lines)}
        try:
            content = await self._bytes("GET", f"/containers/{container.id}/logs", query)
        except EngineRefused:
            return ()
        text = (content if container.tty else demultiplexed(content)).decode(errors="replace")
        return tuple(_shortened(line) for line in text.splitlines()[-lines:])

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        """Everything that happens to containers from now on, until the stream breaks (EngineUnreachable)."""
        query = {"filters": json.dumps({"type": ["container"]})}
        timeout = httpx.Timeout(self._call_s, read=None)
        try:
            async with self._http.stream(
                "GET", self._path("/events"), params=query, timeout=timeout
            ) as stream:
                await _check(stream)
                yield _lines(stream)
        except httpx.HTTPError as error:
            raise self._unreachable(error, "the events") from error

    # acting

    async def kill(self, id: str, signal: str) -> None:  # noqa: A002
        """Send one signal to process 1.

        Raises:
            NotRunning: there is no such process.
        """
        await self._bytes("POST", f"/containers/{id}/kill", {"signal": signal})

    async def unpause(self, id: str) -> None:  # noqa: A002
        await self._bytes("POST", f"/containers/{id}/unpause")

    async def start(self, id: str) -> None:  # noqa: A002
        """Start it; nothing happens if it runs."""
        await self._bytes("POST", f"/containers/{id}/start")

    async def set_policy(self, id: str, policy: RestartPolicy) -> None:  # noqa: A002
        """Change the restart policy of a container that exists."""
        await self._bytes("POST", f"/containers/{id}/update", body={"RestartPolicy": policy.to_json()})

    async def halt(self, id: str, kill_after_s: int, *, call_s: float | None = None) -> bool:  # noqa: A002
        """Ask the engine itself to stop it, which also keeps it from being started again: for containers that
        are between two restarts, and where the restart policy cannot be changed. Answers when it is over; False if there
        was nothing to stop just then."""
        answer = await self._answer("POST", f"/containers/{id}/stop", {"t": kill_after_s}, within_s=call_s)
        return answer.status_code != NOT_MODIFIED

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """The new container's id; it is not started.

        Raises:
            NoSuchImage: the engine does not have the image.
            EngineRefused: the name is taken, or the body is not good.
        """
        made = await self._json("POST", "/containers/create", {"name": name}, body=body, within_s=CREATE_S)
        return str(made["Id"])

    async def import_image(self, name: str, tree: bytes) -> None:
        """Make an image of a tar of its files."""
        repository, _, tag = name.partition(":")
        query = {"fromSrc": "-", "repo": repository, "tag": tag or "latest"}
        await self._bytes("POST", "/images/create", query, content=tree, within_s=CREATE_S)

    async def rename(self, id: str, name: str) -> None:  # noqa: A002
        await self._bytes("POST", f"/containers/{id}/rename", {"name": name})

    async def remove(self, id: str, *, force: bool = False) -> None:  # noqa: A002
        """Remove it, not its volumes. With `force` also when it runs, by SIGKILL."""
        query = {"force": "true" if force else "false", "v": "false"}
        await self._bytes("DELETE", f"/containers/{id}", query, within_s=CREATE_S)

    async def connect_network(self, network: str, body: Mapping[str, Any]) -> None:
        await self._bytes("POST", f"/networks/{quote(network)}/connect", body=body)

    async def run(self, id: str, command: tuple[str, ...], within_s: float) -> tuple[int, str]:  # noqa: A002
        """Run a command inside the container; its exit code and what it printed.

        Raises:
            EngineTimeout: it did not end in time; it may still run.
        """
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        deadline = Deadline.after(within_s)
        made = await self._json("POST", f"/containers/{id}/exec", body=body)
        start = {"Detach": False, "Tty": False}
        path = f"/exec/{made['Id']}/start"
        output = await self._bytes("POST", path, body=start, within_s=deadline.remaining())
        found = await self._json("GET", f"/exec/{made['Id']}/json")
        return int(found.get("ExitCode") or 0), demultiplexed(output).decode(errors="replace")

    # talking

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """While an answer is taken apart, which may be anybody's."""
        try:
            yield
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self.path} answers, and not as container engines do ({type(error).__name__}: {error});"
                " is one listening there?"
            ) from error

    async def _json(
        self,
        method: Method,
        path: str,
        query: Query | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        within_s: float | None = None,
    ) -> Any:
        content = await self._bytes(method, path, query, body=body, within_s=within_s)
        try:
            return json.loads(content)
        except ValueError:
            raise EngineError(
                f"{self.path} did not answer with JSON; is a container engine listening there?"
            ) from None

    async def _bytes(
        self,
        method: Method,
        path: str,
        query: Query | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        within_s: float | None = None,
    ) -> bytes:
        return (
            await self._answer(method, path, query, body=body, content=content, within_s=within_s)
        ).content

    async def _answer(
        self,
        method: Method,
        path: str,
        query: Query | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        within_s: float | None = None,
    ) -> httpx.Response:
        limit = self._call_s if within_s is None else within_s
        try:
            # httpx bounds each read; an answer that trickles for ever is bounded here.
            answer = await Deadline.after(limit).wait(
                self._http.request(
                    method,
                    self._path(path),
                    params=query,
                    json=body,
                    content=content,
                    headers=None if content is None else {"Content-Type": "application/x-tar"},
                    timeout=httpx.Timeout(limit),
                ),
                "",
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error, path) from error
        except DeadlinePassed:
            raise EngineTimeout(
                f"the engine at {self.path} did not answer {path} within {limit:g} s"
            ) from None
        await _check(answer)
        return answer

    def _path(self, path: str) -> str:
        if self._dialect is None or path.startswith(f"/v{LIBPOD}/"):
            return path
        return f"/v{self._dialect.api}{path}"

    def _unreachable(self, error: httpx.HTTPError, what: str) -> EngineUnreachable:
        if isinstance(error, httpx.TimeoutException):
            return EngineTimeout(
                f"the engine at {self.path} did not answer {what} in time; is it overloaded?"
            )
        return EngineUnreachable(
            f"no container engine answers at {self.path} ({str(error) or type(error).__name__}); is it running?",
            was_sent=not isinstance(error, httpx.ConnectError),
        )


async def _check(answer: httpx.Response) -> None:
    if answer.status_code < 300 or answer.status_code == NOT_MODIFIED:
        return
    await answer.aread()
    try:
        message = str(answer.json().get("message") or answer.text)
    except ValueError:
        message = answer.text
    raise _refusal(answer.status_code, answer.request.url.path, message.strip())


def _refusal(status: int, path: str, message: str) -> EngineRefused:
    said = message[:1].lower() + message[1:]
    if status == 404:
        is_image = "/images/" in path or ("/create" in path and "image" in said)
        return NoSuchImage(status, said) if is_image else NoSuchContainer(status, said)
    if "/kill" in path and ("not running" in said or "only kill running" in said or "state improper" in said):
        return NotRunning(status, said)
    return EngineRefused(status, said)


def _shortened(line: str) -> str:
    return line if len(line) <= LOG_LINE else f"…{line[-LOG_LINE:]}"


async def _lines(stream: httpx.Response) -> AsyncIterator[Mapping[str, Any]]:
    async for line in stream.aiter_lines():
        if line.strip():
            yield json.loads(line)
