"""Runs `hitless containers` on the managed host and reads its JSON."""

from __future__ import annotations

import json
import shlex

RUNNING = ("running", "paused", "restarting")
NO_SUCH = 6
OPTIONS = {
    "name": {"type": "list", "elements": "str"},
    "signal": {"type": "str"},
    "wait": {"type": "str"},
    "steps": {"type": "list", "elements": "str"},
    "accept": {"type": "list", "elements": "int"},
    "at_end": {"type": "str", "choices": ["kill", "leave"]},
    "drain": {
        "type": "dict",
        "options": {
            "host": {"type": "str"},
            "host_undo": {"type": "str"},
            "http": {"type": "str"},
            "inside": {"type": "str"},
            "inside_undo": {"type": "str"},
            "timeout": {"type": "str"},
            "on_failure": {"type": "str", "choices": ["refuse", "proceed"]},
        },
    },
    "engine": {"type": "str"},
    "config": {"type": "path"},
    "state_dir": {"type": "path"},
    "executable": {"type": "str", "default": "hitless"},
}
VALUES = ("signal", "wait", "at_end", "engine", "config", "state_dir")
LISTS = ("steps", "accept")


class Hitless:
    """The command on this host."""

    def __init__(self, module):
        self.module = module

    def ask(self, verb, *words):
        """Its exit code, and what it says; the module fails if that is no answer."""
        common = self.common() if verb != "ps" else self.common(only=("engine", "config", "state_dir"))
        command = [
            *shlex.split(self.module.params["executable"]),
            "containers",
            verb,
            *words,
            *common,
            "--json",
        ]
        code, out, err = self.module.run_command(command)
        try:
            answer = json.loads(out)
        except ValueError:
            answer = None
        if answer is None and code != NO_SUCH:
            self.module.fail_json(
                msg=err.strip() or out.strip() or "hitless said nothing", rc=code, cmd=command
            )
        return code, (answer or {"containers": []})["containers"], err.strip()

    def common(self, only=None):
        """Options of the module as options of the command."""
        params = self.module.params
        words = []
        for key in VALUES:
            if params.get(key) is not None and (only is None or key in only):
                words += ["--" + key.replace("_", "-"), params[key]]
        if only is not None:
            return words
        for key in LISTS:
            if params.get(key):
                words += ["--" + key, ",".join(str(each) for each in params[key])]
        for key, value in (params.get("drain") or {}).items():
            if value is not None:
                words += ["--drain-" + key.replace("_", "-"), value]
        return words


def states(rows):
    """What a diff shows of each container."""
    return {row["container"]: row["state"] for row in rows}
