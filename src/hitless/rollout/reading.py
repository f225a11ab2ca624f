"""`rollout.yaml` read and checked: nothing in it can turn out to be wrong half-way through a rollout that could be known before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hitless.change import JSON, digest
from hitless.config import ConfigError, Loaded, Problem, dotted, load, plain
from hitless.config.keys import KeyPath, scalars
from hitless.config.yaml import YamlFile
from hitless.rollout.inventory import Node, read_inventory
from hitless.rollout.settings import RolloutSettings
from hitless.rollout.template import resolved, variables_of

DEFAULT_FILE: Final = "rollout.yaml"
BUILT_IN: Final = ("service", "release", "node", "address")
"""Variables that are there without being set."""
WITH_VARIABLES: Final = ("process", "health", "version", "database", "hooks")
OF_HOOKS: Final = ("service", "release", "node", "message")
OF_DATABASE: Final = ("service", "release")


@dataclass(frozen=True, slots=True)
class Rollout:
    """A service, its nodes, and the release that it is to run: everything that was written, and nothing that was seen."""

    settings: RolloutSettings
    nodes: Mapping[str, Node]
    """In the order in which they go."""
    release: str
    folder: Path
    """Relative paths are this folder's."""
    hash: str
    """SHA-256 of all of it."""

    def values(self, node: Node, release: str) -> Mapping[str, str]:
        """What the variables stand for in the texts of one node and one release."""
        return _values(self.settings, release, node)[0]

    def values_here(self, release: str, **given: str) -> Mapping[str, str]:
        """The same in texts that are no node's: of hooks, which are given more, and of the database."""
        return _values_here(self.settings, release, given)[0]

    @property
    def batch(self) -> int:
        """Nodes that are upgraded at once."""
        return max(1, counted(self.settings.batch, len(self.nodes)))

    @property
    def min_up(self) -> int:
        """Nodes that stay up. One at least, unless somebody has said that it may be none."""
        if self.settings.min_up is None:
            return max(1, len(self.nodes) - self.batch)
        return counted(self.settings.min_up, len(self.nodes), up=True)

    def version(self, release: str) -> str:
        """What a node of the release says that it is."""
        return self.values_here(release).get("version", release)

    def release_of(self, version: str) -> str | None:
        """The release whose nodes say this, if there is one."""
        return next((name for name in self.settings.releases if self.version(name) == version), None)

    def to(self, release: str) -> Rollout:
        """The same with another release to go to."""
        return Rollout(self.settings, self.nodes, release, self.folder, self.hash)


def read_rollout(path: Path, *, release: str | None = None, allow_writable: bool = False) -> Rollout:
    """The file, its inventories, all of it checked.

    Raises:
        ConfigError: with every problem there is.
    """
    loaded = load(RolloutSettings, YamlFile(path, allow_writable))
    settings = loaded.settings
    nodes = {
        name: Node.of(name, each)
        for name, each in _inventory(loaded, path, allow_writable=allow_writable).items()
    }
    problems = [*_releases(loaded, release), *_variables(loaded, nodes), *_unfilled(loaded, nodes)]
    problems += [*_servers(loaded, nodes), *_shares(loaded, nodes)]
    if problems:
        raise ConfigError(problems)
    target = release or settings.release or list(settings.releases)[-1]
    listed: dict[str, JSON] = {
        name: [node.server, node.target.address, dict(node.variables)] for name, node in nodes.items()
    }
    return Rollout(settings, nodes, target, path.parent, digest([plain(settings), listed, target]))


def _inventory(loaded: Loaded[RolloutSettings], path: Path, *, allow_writable: bool) -> Mapping[str, Any]:
    try:
        return read_inventory(loaded.settings, path.parent, allow_writable=allow_writable)
    except ConfigError as error:
        raise ConfigError(
            each if each.where else Problem(_where(loaded, each.key), each.key, each.message)
            for each in error.problems
        ) from None


def _releases(loaded: Loaded[RolloutSettings], asked: str | None) -> Iterator[Problem]:
    settings = loaded.settings
    known = ", ".join(settings.releases)
    if not settings.releases:
        yield Problem(_where(loaded, "releases"), "releases", "lists no release; name them all, oldest first")
    for where, name in (("--release", asked), (_where(loaded, "release"), settings.release)):
        if name is not None and name not in settings.releases:
            yield Problem(
                where,
                "release" if where != "--release" else "",
                f"there is no release {name}; there are: {known}",
            )
    versions = [_values_here(settings, name, {})[0].get("version", name) for name in settings.releases]
    for version in {each for each in versions if versions.count(each) > 1}:
        yield Problem(
            _where(loaded, "releases"), "releases", f"nodes of two releases would say {version}; set version"
        )


def _servers(loaded: Loaded[RolloutSettings], nodes: Mapping[str, Node]) -> Iterator[Problem]:
    servers = [node.server for node in nodes.values()]
    for name in sorted({each for each in servers if servers.count(each) > 1}):
        yield Problem(_where(loaded, "nodes"), "nodes", f"two nodes are the server {name} of the balancers")
    canary = loaded.settings.canary.node
    if canary is not None and canary not in nodes:
        yield Problem(
            _where(loaded, "canary.node"),
            "canary.node",
            f"there is no node {canary}; there are: {', '.join(nodes)}",
        )


def counted(share: int | str, nodes: int, *, up: bool = False) -> int:
    """A number of nodes from a number, or a share such as `25%`; a share of what stays up is rounded up, any other down."""
    if isinstance(share, int):
        return share
    part = nodes * int(share.removesuffix("%"))
    return -(-part // 100) if up else part // 100


def _shares(loaded: Loaded[RolloutSettings], nodes: Mapping[str, Node]) -> Iterator[Problem]:
    settings = loaded.settings
    batch = max(1, counted(settings.batch, len(nodes)))
    if batch > len(nodes):
        yield Problem(_where(loaded, "batch"), "batch", f"expected at most {len(nodes)}, the number of nodes")
    if settings.min_up is None:
        return
    min_up = counted(settings.min_up, len(nodes), up=True)
    if min_up + batch > len(nodes):
        yield Problem(
            _where(loaded, "min_up"),
            "min_up",
            f"{min_up} of {len(nodes)} nodes cannot stay up while {batch} are upgraded; lower min_up or batch",
        )


def _variables(loaded: Loaded[RolloutSettings], nodes: Mapping[str, Node]) -> Iterator[Problem]:
    settings = loaded.settings
    tables: list[tuple[str, Mapping[str, str]]] = [("variables", settings.variables)]
    tables += [(f"releases.{name}", each) for name, each in settings.releases.items()]
    tables += [(f"nodes.{node.name}.variables", node.variables) for node in nodes.values()]
    for key, table in tables:
        for name in table.keys() & set(BUILT_IN):
            yield Problem(
                _where(loaded, f"{key}.{name}"), f"{key}.{name}", "is always there and cannot be set"
            )
    yield from _within_variables(loaded, nodes)
    for path, text in scalars(plain(settings)):
        if isinstance(text, str) and path[0] in WITH_VARIABLES:
            key = dotted(path[:-1] if isinstance(path[-1], int) else path)  # of the whole command
            for name in variables_of(text):
                if lacking := _lacking(settings, nodes, path, name):
                    yield Problem(_where(loaded, key), key, lacking)


def _within_variables(loaded: Loaded[RolloutSettings], nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Variables that stand in the values of others, and can stand for nothing there."""
    settings = loaded.settings
    told: set[str] = set()
    for release, its in settings.releases.items():
        for node in nodes.values():
            for name, why in _values(settings, release, node)[1].items():
                tables = {f"nodes.{node.name}.variables": node.variables, f"releases.{release}": its}
                key = next((key for key, table in tables.items() if name in table), "variables")
                if f"{key}.{name}" not in told:
                    told.add(f"{key}.{name}")
                    yield Problem(_where(loaded, f"{key}.{name}"), f"{key}.{name}", why)


def _unfilled(loaded: Loaded[RolloutSettings], nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Variables that stand where nothing is filled in."""
    settings = loaded.settings
    known = {*BUILT_IN, *settings.variables}.union(
        *settings.releases.values(), *(node.variables for node in nodes.values())
    )
    for path, text in scalars(plain(settings)):
        if not isinstance(text, str) or path[0] in (*WITH_VARIABLES, "variables", "releases"):
            continue
        if path[0] == "nodes" and "variables" in path:
            continue
        for name in known.intersection(variables_of(text)) - (
            {"server"} if path[0] == "balancers" else set()
        ):
            key = dotted(path[:-1] if isinstance(path[-1], int) else path)
            yield Problem(
                _where(loaded, key), key, f"{{{name}}} stands for nothing here: no variables are filled in"
            )


def _lacking(settings: RolloutSettings, nodes: Mapping[str, Node], path: KeyPath, name: str) -> str:
    """Why a variable cannot stand there; empty if it can."""
    known = OF_HOOKS if path[0] == "hooks" else OF_DATABASE if path[0] == "database" else BUILT_IN
    if path[0] in ("hooks", "database"):
        given = dict.fromkeys(known, "")
        for release in settings.releases:
            if why := _values_here(settings, release, given)[1].get(name):
                return f"the variable {name} cannot be filled in: {why}"
    if name in known or name in settings.variables:
        return ""
    if all(name in each for each in settings.releases.values()):
        return ""
    if path[0] not in ("hooks", "database") and all(name in node.variables for node in nodes.values()):
        return ""
    without = [f"release {each}" for each, its in settings.releases.items() if name not in its]
    if len(without) < len(settings.releases):
        return f"{without[0]} has no variable {name}, and others have"
    bare = [f"node {node.name}" for node in nodes.values() if name not in node.variables]
    if len(bare) < len(nodes):
        return f"{bare[0]} has no variable {name}, and others have"
    there = ", ".join((*known, *settings.variables))
    return f"there is no variable {name}; there are: {there} (write {{{{{name}}}}} for the braces themselves)"


def _values(
    settings: RolloutSettings, release: str, node: Node
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    own = {
        "service": settings.service,
        "release": release,
        "node": node.name,
        "address": node.target.address,
    }
    its = settings.releases.get(release, {})
    return resolved({**settings.variables, **its, **node.variables}, own)


def _values_here(
    settings: RolloutSettings, release: str, given: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    own = {**given, "service": settings.service, "release": release}
    return resolved({**settings.variables, **settings.releases.get(release, {})}, own)


def _where(loaded: Loaded[RolloutSettings], key: str) -> str:
    """The line of a key, or of the table that it should stand in."""
    while key:
        for known, origin in loaded.origins.items():
            if origin.where and (known == key or known.startswith((f"{key}.", f"{key}["))):
                return origin.where
        key = key.rpartition(".")[0] if "." in key else key.rpartition("[")[0]
    return str(loaded.files[0]) if loaded.files else ""
