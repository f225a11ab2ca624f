"""Finds containers that will be killed rather than stopped, before anybody tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitless.change import JSON
from hitless.containers.container import Container
from hitless.containers.dialect import Dialect
from hitless.containers.parameters import Parameters
from hitless.containers.processes import Process
from hitless.containers.sequence import NEVER_S
from hitless.containers.signals import DEFAULT, KILL, number, parse_signal
from hitless.containers.units import DIRECTORIES, unit_of

FAULTS: Final = {
    "invalid_parameters": "what applies to it makes no sense, so that hitless refuses to stop it",
    "shell_as_pid_1": "its process 1 is a shell that neither handles the stop signal nor passes it on",
    "no_handler": "its process 1 does not handle the stop signal, and the kernel does not end a process 1 by it",
    "shell_under_init": "its init passes the stop signal to a shell, which ends without its children",
    "not_reaped": "its process 1 does not wait for its children",
    "killed_at_once": "its stop signal is SIGKILL",
    "stop_timeout_too_short": "the engine kills it earlier than it is allowed to take",
    "unit_timeout_too_short": "systemd kills it earlier than its container is allowed to take",
    "resurrected": "the engine starts it again after the signal that stops it",
}
"""Every fault that is looked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of one container."""

    container: str
    fault: str
    """One of FAULTS."""
    message: str
    remedy: str

    def to_json(self) -> dict[str, JSON]:
        return {
            "container": self.container,
            "fault": self.fault,
            "message": self.message,
            "remedy": self.remedy,
        }


def unclear(container: str, message: str) -> Finding:
    """Of a container whose parameters make no sense."""
    return Finding(
        container, "invalid_parameters", message, "mend its label, or its stop signal, and create it again"
    )


@dataclass(frozen=True, slots=True)
class Patient:
    """A container, what applies to it, and its process 1 if it can be seen."""

    container: Container
    parameters: Parameters
    dialect: Dialect
    process: Process | None
    units: Sequence[Path]

    @property
    def signal(self) -> str:
        """The first that is sent to it."""
        return self.parameters.sequence.steps[0].signal

    @property
    def engine_stop_s(self) -> float:
        """How long the engine waits before it kills, if it is asked to stop it."""
        timeout = self.container.stop_timeout_s
        if timeout is None:
            return self.dialect.default_stop_timeout_s
        return NEVER_S if timeout < 0 else timeout

    @property
    def declared_s(self) -> float | None:
        """How long it may take to stop, if anybody has said so (and not only the container itself)."""
        keys = ("wait", "steps", "drain.timeout")
        said = [self.parameters.said[key].where for key in keys if key in self.parameters.said]
        if all(where == "default" or where.startswith("StopTimeout") for where in said):
            return None
        return self.parameters.sequence.total_s


Examination = Callable[[Patient], Iterator[Finding]]


def examined(
    container: Container, parameters: Parameters, dialect: Dialect, units: Sequence[Path] = DIRECTORIES
) -> list[Finding]:
    """Everything that is wrong with it."""
    process = Process.read(container.pid) if container.pid else None
    patient = Patient(container, parameters, dialect, process, units)
    return [finding for examine in EXAMINATIONS for finding in examine(patient)]


def _signal(patient: Patient) -> Iterator[Finding]:
    engines = parse_signal(patient.container.stop_signal or DEFAULT)
    if KILL in (engines, patient.signal):
        yield _found(
            patient, "killed_at_once", "its stop signal is SIGKILL, so it cannot finish anything",
            "set the STOPSIGNAL of its image to what it finishes by, or the label hitless.stop.signal",
        )  # fmt: skip


def _handler(patient: Patient) -> Iterator[Finding]:
    process = patient.process
    if process is None or patient.signal == KILL:
        return
    if process.is_init:
        yield from _below(patient, process)
    elif not process.handles(number(patient.signal)):
        if process.is_shell:
            yield _found(
                patient, "shell_as_pid_1",
                f"its process 1 is a shell ({_shown(process)}) that does not pass {patient.signal} on",
                'write the command in exec form (CMD ["program", "arg"]), or let the shell exec the program',
            )  # fmt: skip
        else:
            yield _found(
                patient, "no_handler",
                f"its process 1 ({_shown(process)}) does not handle {patient.signal}, and as process 1 it is not ended by it",
                "handle the signal, say which one it finishes by (hitless.stop.signal), or run it with --init",
            )  # fmt: skip


def _below(patient: Patient, init: Process) -> Iterator[Finding]:
    for pid in init.children:
        child = Process.read(pid)
        if (
            child is not None
            and child.is_shell
            and child.children
            and not child.handles(number(patient.signal))
        ):
            yield _found(
                patient, "shell_under_init",
                f"its init passes {patient.signal} to a shell ({_shown(child)}), which ends and leaves its children to be killed",
                "write the command in exec form, let the shell exec the program, or have the init signal the whole group (tini -g)",
            )  # fmt: skip


def _reaping(patient: Patient) -> Iterator[Finding]:
    process = patient.process
    if process is not None and not process.is_init and (dead := process.dead_children()):
        yield _found(
            patient, "not_reaped",
            f"its process 1 ({_shown(process)}) has {dead} children that have ended and were not waited for",
            "run it with --init, so that an init waits for them and passes signals on",
        )  # fmt: skip


def _engine_timeout(patient: Patient) -> Iterator[Finding]:
    needs = patient.declared_s
    if needs is not None and needs > patient.engine_stop_s:
        yield _found(
            patient, "stop_timeout_too_short",
            f"it may take {needs:g} s to stop, and whoever stops it by the engine has it killed after {patient.engine_stop_s:g} s",
            f"create it with --stop-timeout {round(needs + 0.5)}, or stop it by hitless only",
        )  # fmt: skip


def _unit_timeout(patient: Patient) -> Iterator[Finding]:
    unit = unit_of(patient.container, patient.units)
    if unit is None:
        return
    needs = max(unit.engine_s or patient.engine_stop_s, patient.declared_s or 0.0)
    if unit.stop_s <= needs:
        yield _found(
            patient, "unit_timeout_too_short",
            f"its unit {unit.path.name} lets systemd kill it after {unit.stop_s:g} s, and it may take {needs:g} s to stop",
            f"set TimeoutStopSec={round(needs + 10)} in {unit.path}, and run systemctl daemon-reload",
        )  # fmt: skip


def _policy(patient: Patient) -> Iterator[Finding]:
    container = patient.container
    engines = parse_signal(container.stop_signal or DEFAULT)
    # Without a stop signal of its own, Docker takes any signal of a person for a wish to stop it.
    minds = bool(container.stop_signal) or patient.dialect.kind == "podman"
    if (
        container.policy.name in ("always", "unless-stopped")
        and minds
        and patient.signal not in (engines, KILL)
    ):
        yield _found(
            patient, "resurrected",
            f"it is stopped by {patient.signal}, its own stop signal is {engines}, and its restart policy {container.policy}"
            " starts it again unless hitless stops it",
            f"create it with --stop-signal {patient.signal}",
        )  # fmt: skip


EXAMINATIONS: Final[tuple[Examination, ...]] = (
    _signal,
    _handler,
    _reaping,
    _engine_timeout,
    _unit_timeout,
    _policy,
)


def _found(patient: Patient, fault: str, message: str, remedy: str) -> Finding:
    return Finding(patient.container.name, fault, message, remedy)


def _shown(process: Process) -> str:
    return " ".join(process.command)[:60] or process.name
