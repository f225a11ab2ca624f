#!/usr/bin/python
"""Ansible module: stop containers without cutting their work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stop
short_description: Let containers finish their work and end
description:
  - Sends the signals of each container's stop sequence and waits, by a clock of its own. Nobody is killed before the deadline.
  - Fails if a container was killed, lost its work, or did not end; the outcome of each is in the result.
  - Needs hitless on the managed host.
options:
  name:
    description: Containers, as names, globs or ids. A name that does not exist counts as stopped.
    type: list
    elements: str
  label:
    description: Instead of names, containers with all of these labels (KEY or KEY=VALUE).
    type: list
    elements: str
  all:
    description: Instead of names, every container that runs.
    type: bool
    default: false
  signal:
    description: Signal of the first step.
    type: str
  wait:
    description: How long the first step waits, as in 30m.
    type: str
  steps:
    description: Signals and waits in order, as in "SIGQUIT 5m".
    type: list
    elements: str
  accept:
    description: Exit codes of a clean end.
    type: list
    elements: int
  at_end:
    description: What is done with a container that does not end.
    type: str
    choices: [kill, leave]
  drain:
    description: What is done before the first signal; host, http, inside, timeout, on_failure, host_undo, inside_undo.
    type: dict
    suboptions:
      host: {description: Command on the managed host., type: str}
      host_undo: {description: Command that takes it back., type: str}
      http: {description: URL to post to., type: str}
      inside: {description: Command in the container., type: str}
      inside_undo: {description: Command in the container that takes it back., type: str}
      timeout: {description: For all of them., type: str}
      on_failure: {description: Whether to stop all the same., type: str, choices: [refuse, proceed]}
  max_parallel:
    description: How many at once.
    type: int
    default: 64
  engine:
    description: The engine's socket, unix://PATH.
    type: str
  config:
    description: containers.toml on the managed host.
    type: path
  state_dir:
    description: Where is written down what is under way.
    type: path
  executable:
    description: The command to run.
    type: str
    default: hitless
author:
  - The Hitless developers
"""

EXAMPLES = r"""
- hitless.containers.stop:
    name: glance_api
    wait: 30m
"""

RETURN = r"""
containers:
  description: The outcome of each container, as C(hitless containers stop --json) tells it.
  returned: always
  type: list
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hitless.containers.plugins.module_utils.hitless import (
    NO_SUCH,
    OPTIONS,
    RUNNING,
    Hitless,
    states,
)

DONE = ("clean", "already_stopped")


def chosen(params):
    """The words that say which containers."""
    if params["all"]:
        return ["--all"]
    return [
        *(params["name"] or ()),
        *(word for label in params["label"] or () for word in ("--label", label)),
    ]


def main():
    spec = {
        **OPTIONS,
        "label": {"type": "list", "elements": "str"},
        "all": {"type": "bool", "default": False},
        "max_parallel": {"type": "int", "default": 64},
    }
    ways = ("name", "label", "all")
    module = AnsibleModule(spec, supports_check_mode=True, required_one_of=[ways], mutually_exclusive=[ways])
    hitless = Hitless(module)
    there = []
    for name in module.params["name"] or [None]:
        words = chosen({**module.params, "name": [name] if name else None})
        there += hitless.ask("ps", *words)[1]
    before = states(there)
    running = [name for name, state in before.items() if state in RUNNING]
    after = {name: "exited" if name in running else state for name, state in before.items()}
    if not running or module.check_mode:
        module.exit_json(changed=bool(running), containers=[], diff={"before": before, "after": after})
    code, outcomes, said = hitless.ask("stop", *running, "--max-parallel", str(module.params["max_parallel"]))
    after.update({each["container"]: "running" for each in outcomes if each["outcome"] == "refused"})
    changed = any(each["outcome"] not in ("already_stopped", "refused") for each in outcomes)
    result = {"changed": changed, "containers": outcomes, "diff": {"before": before, "after": after}}
    if code not in (0, NO_SUCH):
        told = [each["message"] for each in outcomes if each["outcome"] not in DONE]
        module.fail_json(msg="; ".join(told) or said, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
