"""A container engine for the demonstration: the one that runs here, or a private one for as long as it takes."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from hitless.containers import Engine, EngineError, engine_address
from hitless.containers.address import accepts

START_S: Final = 30.0
END_S: Final = 20.0
IMAGE: Final = "hitless-demo:latest"
EMPTY: Final = ("app", "bin", "dev", "etc", "lib", "lib64", "proc", "sys", "tmp", "usr")


class NoEngine(Exception):
    """There is none and none can be started; the message says why."""


def missing() -> str | None:
    """What this machine lacks, if anything."""
    with suppress(EngineError):
        engine_address()
        return None
    if os.geteuid() != 0:
        return "no container engine runs here, and only root can start a private one"
    if shutil.which("dockerd") is None and shutil.which("podman") is None:
        return "no container engine is installed; install docker.io or podman"
    return None


@asynccontextmanager
async def some_engine() -> AsyncIterator[Engine]:
    """An engine that answers. A private one, and all that it made, is gone afterwards.

    Raises:
        NoEngine: it cannot be had.
    """
    try:
        path = engine_address()
    except EngineError:
        async with _private() as path, Engine(path) as engine:
            yield engine
        return
    async with Engine(path) as engine:
        yield engine


def empty_image() -> bytes:
    """An image to mount this machine's programs upon: nothing has to be downloaded."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in EMPTY:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
    return file.getvalue()


def mounts(app: Path) -> Iterator[str]:
    """This machine's Python, read-only, and the program of the demonstration."""
    places = {"/usr", "/lib", "/lib64", "/bin", sys.base_prefix, sys.prefix, sysconfig.get_path("stdlib")}
    shown = [Path(place) for place in sorted(places) if Path(place).exists()]
    for place in shown:
        if not any(other in place.parents for other in shown):
            yield f"{place}:{place}:ro"
    yield f"{app}:/app:ro"


@asynccontextmanager
async def _private() -> AsyncIterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hitless-e-", dir="/tmp"))  # short: it holds the engine's sockets
    path = folder / "e.sock"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *_command(folder, path), stdout=log, stderr=log, start_new_session=True
        )
    try:
        await _answering(process, path, folder / "log")
        yield path
    finally:
        await asyncio.shield(_ended(process))
        _unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _command(folder: Path, path: Path) -> list[str]:
    if shutil.which("dockerd"):
        return [
            "dockerd", "--data-root", f"{folder}/d", "--exec-root", f"{folder}/x", "-H", f"unix://{path}",
            "--pidfile", f"{folder}/pid", "--bridge=none", "--iptables=false", "--storage-driver=vfs",
            "--shutdown-timeout=1",
        ]  # fmt: skip
    return [
        "podman", "--root", f"{folder}/d", "--runroot", f"{folder}/x", "--tmpdir", f"{folder}/t",
        "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file",
        *(["--runtime", "runc"] if shutil.which("runc") else []), "system", "service", "--time=0", f"unix://{path}",
    ]  # fmt: skip


async def _answering(process: asyncio.subprocess.Process, path: Path, log: Path) -> None:
    async with asyncio.timeout(START_S):
        while not accepts(path):
            if process.returncode is not None:
                raise NoEngine(
                    f"a private engine does not start here: {log.read_text(errors='replace')[-500:]}"
                )
            await asyncio.sleep(0.1)


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _unmount(folder: Path) -> None:
    """What the engine has left mounted: its namespaces."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((each for each in mounted if each.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True, timeout=END_S)
