#!/usr/bin/python
"""Ansible module: replace a container by one of another image, or by its like."""

from __future__ import annotations

DOCUMENTATION = r"""
module: recreate
short_description: Replace containers; the old ones come back if the new ones fail
description:
  - Creates a container like the old one from the image, stops the old one without cutting its work, starts the new one,
    and waits until it is healthy. If it is not, the old one serves again and the task fails.
  - A container that was made of this very image stays as it is, unless I(force).
  - Needs hitless on the managed host.
options:
  name:
    description: Containers, as names or ids.
    type: list
    elements: str
    required: true
  image:
    description: The new image; the container's own, as it is named now, if not given.
    type: str
  force:
    description: Replace also what was made of this very image.
    type: bool
    default: false
  new_first:
    description: Start the new one before the old one is stopped; refused if both want the same port or address.
    type: bool
    default: false
  order:
    description: Which is first; C(auto) is new first where it can be reached beside the old one.
    type: str
    choices: [auto, old_first, new_first]
  keep_addresses:
    description: Whether the new one gets the addresses, too, that the old one was only lent.
    type: bool
  alternate:
    description: Two ways to be reached, of which the new container takes the one that the old one has not.
    type: dict
    suboptions:
      publish: {description: "Published ports, as in 127.0.0.1:8101:80.", type: list, elements: str}
      address: {description: "Fixed addresses, as in NETWORK=10.0.0.11.", type: list, elements: str}
      env: {description: "Environment, as in PORT=8081.", type: list, elements: str}
  ready:
    description: How long the new one may take to become healthy.
    type: str
  settle:
    description: How long a new one without a health check must run.
    type: str
  signal:
    description: Signal of the first step of the old one's stop.
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
    description: What is done with an old one that does not end; with leave, nothing is replaced.
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
- hitless.containers.recreate:
    name: glance_api
    image: registry/glance:2

- hitless.containers.recreate:
    name: glance_api
    image: registry/glance:2
    alternate:
      address: [internal=10.0.0.11, internal=10.0.0.12]
    drain:
      host: /usr/local/bin/balancer
      host_undo: /usr/local/bin/balancer
"""

RETURN = r"""
containers:
  description: The outcome of each container, as C(hitless containers upgrade --json) tells it.
  returned: always
  type: list
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hitless.containers.plugins.module_utils.hitless import NO_SUCH, OPTIONS, Hitless


def main():
    spec = {
        **OPTIONS,
        "name": {"type": "list", "elements": "str", "required": True},
        "image": {"type": "str"},
        "force": {"type": "bool", "default": False},
        "new_first": {"type": "bool", "default": False},
        "order": {"type": "str", "choices": ["auto", "old_first", "new_first"]},
        "keep_addresses": {"type": "bool"},
        "alternate": {
            "type": "dict",
            "options": {key: {"type": "list", "elements": "str"} for key in ("publish", "address", "env")},
        },
        "ready": {"type": "str"},
        "settle": {"type": "str"},
    }
    module = AnsibleModule(spec, supports_check_mode=True)
    params = module.params
    hitless = Hitless(module)
    words = list(params["name"])
    for key in ("image", "ready", "settle", "order"):
        if params[key] is not None:
            words += [f"--{key}", params[key]]
    for key, values in (params["alternate"] or {}).items():
        if values:
            words += [f"--alternate-{key}", ",".join(values)]
    if params["keep_addresses"] is not None:
        words.append("--keep-addresses" if params["keep_addresses"] else "--no-keep-addresses")
    if params["new_first"]:
        words.append("--new-first")
    if params["force"]:
        words.append("--force")
    code, plan, said = hitless.ask("upgrade", *words, "--check")
    if code:
        module.fail_json(msg=said or "hitless cannot replace it", rc=code)
    diff = {
        "before": {each["container"]: each["from"] for each in plan},
        "after": {each["container"]: each["to"] for each in plan},
    }
    changes = any(each["changes"] for each in plan)
    if module.check_mode or not changes:
        module.exit_json(changed=changes, containers=[], diff=diff)
    code, outcomes, said = hitless.ask("upgrade", *words)
    result = {
        "changed": any(each["status"] == "applied" for each in outcomes),
        "containers": outcomes,
        "diff": diff,
    }
    if code:
        told = [each["message"] for each in outcomes if each["status"] not in ("applied", "unchanged")]
        told += [
            each["stop"]["message"]
            for each in outcomes
            if each["stop"] and each["stop"]["outcome"] != "clean"
        ]
        missing = "no such container" if code == NO_SUCH else "hitless failed"
        module.fail_json(msg="; ".join(told) or said or missing, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
