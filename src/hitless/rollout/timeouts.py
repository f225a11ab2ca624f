"""Every deadline and interval that has a default, in seconds, with its name and its reason."""

from __future__ import annotations

from typing import Final

DRAIN_S: Final = 600.0
"""For the requests of a node to end: uploads and downloads take long, and cutting them is what this exists to avoid."""
STOP_S: Final = 120.0
"""For a drained node's processes to be gone."""
UPGRADE_S: Final = 900.0
"""For a release to be installed on a node: downloads, packages, images."""
START_S: Final = 120.0
"""For the start action itself; whether the node is healthy is asked by the probes."""
HEALTH_S: Final = 120.0
"""For a started node to pass its probes so many times in a row."""
READY_S: Final = 60.0
"""For a balancer to call a server up that its nodes' probes have found healthy."""
HOOK_S: Final = 300.0
OBSERVE_S: Final = 30.0
"""For one look at one node, a balancer or the database."""
ASK_S: Final = 5.0
"""For the answer to one probe."""
SOAK_S: Final = 30.0
"""A node that falls over does it early."""
OVERALL_S: Final = 86400.0
"""For a whole rollout, pauses not counted."""
LEASE_S: Final = 30.0
"""How long a runner that cannot be heard of keeps the lock, where nobody can see whether its process lives."""

INTERVAL_S: Final = 1.0
"""Between two probes."""
LOOK_S: Final = 0.2
"""Between two looks at what has no event to wait for: a process on another machine, a wish in the journal."""
TOLD_S: Final = 1.0
"""At most so often is written down what a step waits for."""
ORPHANS_S: Final = 3.0
"""For commands of a runner that was killed to end: executors send them SIGTERM at once, SIGKILL after two seconds, and nobody is
told when they are gone. Two upgrades of one node at once are worse than a wait."""
UNDO_S: Final = 60.0
"""For giving traffic back to a node whose turn was given up."""
