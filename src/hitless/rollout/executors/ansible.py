"""Commands run on nodes by ansible: its inventory, its connections, its vault, its become.

Slow beside ssh (a run of ansible for each command), and worth it where an inventory says how to get at the nodes.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import secrets
import shlex
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hitless.change import Deadline, DeadlinePassed
from hitless.rollout.executors.capture import Capture
from hitless.rollout.executors.errors import ExecutorError, NotRun, Unreachable
from hitless.rollout.executors.executor import NOTHING, Finished, Target
from hitless.rollout.executors.lifeline import Unfit, check, loader
from hitless.rollout.executors.settings import AnsibleSettings

KILL_S: Final = 2
LATE: Final = 124
"""What coreutils' timeout exits with."""
SPARE_S: Final = 30.0
"""For ansible to tell us that it has ended the command."""
SAID: Final = 2000
ABSENT: Final = "hitless finds no such program"
ENDS: Final = {"runner_on_ok", "runner_on_failed", "runner_on_unreachable"}


class AnsibleExecutor:
    """A node's name must be in the inventory; how to get at it is said there, not in its address."""

    def __init__(self, settings: AnsibleSettings) -> None:
        """
        Raises:
            ExecutorError: ansible-runner is not installed.
        """
        try:
            self._runner: Final = importlib.import_module("ansible_runner")
        except ImportError as error:
            raise ExecutorError(
                "", "ansible-runner is not installed; install it with: pip install 'hitless[ansible]'"
            ) from error
        self._settings: Final = settings
        self._few: Final = asyncio.Semaphore(settings.parallel)

    async def run(
        self,
        node: Target,
        command: Sequence[str],
        deadline: Deadline,
        *,
        env: Mapping[str, str] = NOTHING,
        stdin: bytes | None = None,
    ) -> Finished:
        if node.options or node.user:
            raise NotRun(node.name, f"node {node.name}: its user and options are said in ansible's inventory")
        try:
            check(command, env)
            text = (stdin or b"").decode()
        except (Unfit, UnicodeDecodeError) as error:
            raise NotRun(node.name, f"ansible cannot run {command[:1]} on {node.name}: {error}") from error
        await deadline.wait(self._few.acquire(), f"a command on {node.name} did not get its turn")
        try:
            event = await self._ran(node, _play(node, command, env, text, deadline), deadline)
        finally:
            self._few.release()
        return self._finished(node, command, event, deadline)

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _ran(self, node: Target, play: str, deadline: Deadline) -> Mapping[str, Any]:
        """The event that says how it ended."""
        cancelled = threading.Event()
        with tempfile.TemporaryDirectory(prefix="hitless-ansible-") as folder:
            running = asyncio.ensure_future(asyncio.to_thread(self._run, Path(folder), play, cancelled))
            try:
                late = Deadline.after(deadline.remaining() + KILL_S + SPARE_S)
                return await late.wait(asyncio.shield(running), f"ansible on {node.name} did not end")
            except DeadlinePassed as error:
                raise DeadlinePassed(error.what, deadline.seconds) from None
            finally:
                cancelled.set()
                await asyncio.shield(asyncio.wait([running]))

    def _run(self, folder: Path, play: str, cancelled: threading.Event) -> Mapping[str, Any]:
        said: list[Mapping[str, Any]] = []
        settings = self._settings
        environ = {
            "PATH": _path(),
            "ANSIBLE_HOST_KEY_CHECKING": "True",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
        }
        if settings.config is not None:
            environ["ANSIBLE_CONFIG"] = str(Path(settings.config).absolute())
        words = []
        if settings.vault_password_file is not None:
            words = ["--vault-password-file", str(Path(settings.vault_password_file).absolute())]
        result = self._runner.run(
            private_data_dir=str(folder),
            playbook=_written(folder, play),
            inventory=str(Path(settings.inventory).absolute()),
            envvars=environ,
            extravars=_extra(settings),
            cmdline=" ".join(words) or None,
            quiet=True,
            event_handler=lambda event: _take(event, said),
            cancel_callback=cancelled.is_set,
        )
        if said:
            return said[-1]
        return {"event": "none", "output": result.stdout.read() if result.stdout else ""}

    def _finished(
        self, node: Target, command: Sequence[str], event: Mapping[str, Any], deadline: Deadline
    ) -> Finished:
        result = event.get("event_data", {}).get("res", {})
        said = str(result.get("msg") or event.get("output") or "it said nothing").strip()
        if event["event"] == "runner_on_unreachable":
            raise Unreachable(node.name, f"{node.name} cannot be reached by ansible: {said}")
        if "rc" not in result or "cmd" not in result:
            said = str(result.get("module_stderr") or said).strip()
            raise ExecutorError(node.name, f"ansible did not run {command[0]} on {node.name}: {said[-SAID:]}")
        if str(result.get("stderr", "")).startswith(ABSENT):
            raise NotRun(node.name, f"there is no program {command[0]} on {node.name}")
        code = int(result["rc"])
        if code in (LATE, 128 + 9) and deadline.expired:
            raise DeadlinePassed(f"{command[0]} on {node.name} did not end (it was ended)", deadline.seconds)
        limit = self._settings.output
        return Finished(
            code if code >= 0 else 128 - code,
            *(_bounded(result.get(key), limit) for key in ("stdout", "stderr")),
        )


def _path() -> str:
    """Programs beside our interpreter come first: ansible-playbook is in the same environment as ansible-runner."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def _play(
    node: Target, command: Sequence[str], env: Mapping[str, str], stdin: str, deadline: Deadline
) -> str:
    """A playbook of one task. `timeout` of the node ends the command at the deadline: ansible's own gives up and leaves
    it running."""
    text = _script(command, env)
    argv = [
        "timeout",
        f"--kill-after={KILL_S}",
        f"{max(0.1, deadline.remaining()):.1f}",
        *loader(len(text.encode())),
    ]
    arguments = {"argv": argv, "stdin": text + stdin, "stdin_add_newline": False, "strip_empty_ends": False}
    play = {
        "hosts": node.name,
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.command": None, "args": _literal(arguments)},
        ],
    }
    return json.dumps([play])


def _script(command: Sequence[str], env: Mapping[str, str]) -> str:
    """Read from the standard input, so that secrets in the environment are on no command line."""
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items())
    first = shlex.quote(command[0])
    absent = f"command -v {first} >/dev/null 2>&1 || {{ echo '{ABSENT}' >&2; exit 127; }}"
    return f"{exports}\n{absent}\nexec {shlex.join(command)}\n"


def _literal(value: object) -> str:
    """A template of exactly this value: ansible looks for variables in what is written, and takes `!unsafe "true"` for a
    truth value, but leaves what a template gives as it is."""
    data = base64.b64encode(json.dumps(value).encode()).decode()
    return f"{{{{ '{data}' | b64decode | from_json }}}}"


def _extra(settings: AnsibleSettings) -> dict[str, Any]:
    extra: dict[str, Any] = dict(settings.variables)
    if settings.become:
        extra |= {"ansible_become": True, "ansible_become_user": settings.become_user}
    return extra


def _written(folder: Path, play: str) -> str:
    (folder / "project").mkdir()
    path = folder / "project" / "run.yml"
    path.write_text(play)
    return path.name


def _take(event: Mapping[str, Any], said: list[Mapping[str, Any]]) -> bool:
    if event.get("event") in ENDS:
        said.append(event)
    return False  # nothing is kept on disk


def _bounded(text: object, limit: int) -> str:
    capture = Capture(secrets.token_hex(16), limit)
    capture.feed(str(text or "").encode(errors="surrogateescape"))
    capture.close()
    return capture.text()
