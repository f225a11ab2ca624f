"""The migrations of a service: a folder with two alembic branches and the data migrations between them.

    migrations/expand/2_expand01_visibility.py      adds; old and new release can run on it
    migrations/data/2_migrate01_visibility.py       moves rows; `backfill = Backfill(…)`, or `pending` and `migrate`
    migrations/contract/2_contract01_visibility.py  removes what only the old release needed; `assertions = {…}`

Each file says its `release`. The order of the releases is that of the expand branch; each release of a contract or data
migration has an expand revision, be it an empty one, and a contract revision depends on its release's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection

from hitless.schema.backfill import Backfill
from hitless.schema.errors import Invalid

Branch = Literal["expand", "contract"]
BRANCHES: Final[tuple[Branch, ...]] = ("expand", "contract")
DATA: Final = "data"


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a branch."""

    id: str
    release: str
    branch: Branch
    path: Path
    about: str
    assertions: Mapping[str, str]
    """Of a contract revision: queries that must give no rows before it runs, by what they assert."""


@dataclass(frozen=True, slots=True)
class DataMigration:
    """Rows to be moved while both releases run."""

    name: str
    release: str
    path: Path
    pending: Callable[[Connection], int | bool]
    """How many rows wait, or whether any do."""
    migrate: Callable[[Connection, int], int] | None
    """Moves at most so many rows in the caller's transaction; returns how many. None if there is a backfill."""
    backfill: Backfill | None


@dataclass(frozen=True, slots=True)
class Release:
    name: str
    expand: tuple[Revision, ...] = ()
    data: tuple[DataMigration, ...] = ()
    contract: tuple[Revision, ...] = ()


class Project:
    """The folder, read and checked.

    Raises:
        Invalid: the folder is missing, a file cannot be loaded, or its parts do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        if not (folder / "expand").is_dir():
            raise Invalid(
                "no_migrations", f"there are no migrations in {folder}; make them with: hitless db init"
            )
        self.script: Final = ScriptDirectory(
            str(folder),
            version_locations=[str(folder / branch) for branch in BRANCHES if (folder / branch).is_dir()],
        )
        self.releases: Final = tuple(self._releases())

    def release(self, name: str | None) -> Release:
        """The release of this name, or the last one."""
        if not self.releases:
            raise Invalid(
                "no_releases", f"{self.folder} has no revisions; make them with: hitless db revision"
            )
        if name is None:
            return self.releases[-1]
        for release in self.releases:
            if release.name == name:
                return release
        known = ", ".join(release.name for release in self.releases)
        raise Invalid("unknown_release", f"{self.folder} has no release {name}; it has: {known}")

    def up_to(self, release: Release) -> tuple[Release, ...]:
        """All releases up to this one: none is ever skipped."""
        return self.releases[: self.releases.index(release) + 1]

    @cached_property
    def revisions(self) -> Mapping[str, Revision]:
        return {
            revision.id: revision
            for release in self.releases
            for revision in (*release.expand, *release.contract)
        }

    def ancestors(self, heads: Sequence[str]) -> frozenset[str]:
        """All revisions that are applied where these are the heads.

        Raises:
            Invalid: the database has a revision that this folder does not: it is from another release.
        """
        unknown = [head for head in heads if head not in self.revisions]
        if unknown:
            raise Invalid(
                "unknown_revision",
                f"the database is at revision {unknown[0]}, which {self.folder} does not have; run the newer release's hitless db",
            )
        found: set[str] = set()
        waiting = list(heads)
        while waiting:
            revision = waiting.pop()
            if revision not in found:
                found.add(revision)
                waiting += _before(self.script.get_revision(revision))
        return frozenset(found)

    def _releases(self) -> Iterator[Release]:
        by_branch = {branch: self._branch(branch) for branch in BRANCHES}
        data = list(self._data())
        names = list(dict.fromkeys(revision.release for revision in by_branch["expand"]))
        items: tuple[Revision | DataMigration, ...] = (*by_branch["contract"], *data)
        for item in items:
            if item.release not in names:
                raise Invalid(
                    "no_expand",
                    f"{item.path} is of release {item.release}, which has no expand revision; make one, be it empty:"
                    f" hitless db revision {item.release}",
                )
        for name in names:
            release = Release(
                name,
                tuple(each for each in by_branch["expand"] if each.release == name),
                tuple(each for each in data if each.release == name),
                tuple(each for each in by_branch["contract"] if each.release == name),
            )
            self._check_dependencies(release)
            yield release

    def _check_dependencies(self, release: Release) -> None:
        if release.data and not release.contract:
            raise Invalid(
                "no_contract",
                f"release {release.name} migrates data but has no contract revision, whose gates prove that all rows moved;"
                f" make one, be it empty: hitless db revision {release.name} --only contract",
            )
        for revision in release.contract:
            applied = self._all_before(revision.id)
            missing = [each.id for each in release.expand if each.id not in applied]
            if missing:
                raise Invalid(
                    "no_dependency",
                    f'{revision.path} must not run before {missing[-1]}; write in it: depends_on = "{missing[-1]}"',
                )

    def _all_before(self, revision: str) -> set[str]:
        found: set[str] = set()
        waiting = [revision]
        while waiting:
            for each in _before(self.script.get_revision(waiting.pop())):
                if each not in found:
                    found.add(each)
                    waiting.append(each)
        return found

    def _branch(self, branch: Branch) -> list[Revision]:
        """The revisions of a branch, oldest first."""
        folder = (self.folder / branch).resolve()
        found = []
        for script in self._walk():
            path = Path(script.path)
            if path.resolve().parent == folder:
                found.append(_revision(script, branch, path))
        return found[::-1]

    def _walk(self) -> list[Script]:
        try:
            return list(self.script.walk_revisions())
        except (CommandError, RevisionError) as error:
            raise Invalid(
                "broken_revisions", f"the revisions in {self.folder} do not fit together: {error}"
            ) from error
        except (SyntaxError, ImportError, NameError, AttributeError, TypeError) as error:
            raise Invalid(
                "broken_revision", f"a revision in {self.folder} cannot be loaded: {error}"
            ) from error

    def _data(self) -> Iterator[DataMigration]:
        for path in sorted((self.folder / DATA).glob("[!_.]*.py")):
            yield _data_migration(path)


def _before(script: Script | None) -> tuple[str, ...]:
    """What must have run before: its ancestors in the branch and what it depends on."""
    assert script is not None
    return (*script._versioned_down_revisions, *script._resolved_dependencies)


def _revision(script: Script, branch: Branch, path: Path) -> Revision:
    module: Any = script.module
    release = getattr(module, "release", None)
    if not isinstance(release, str) or not release:
        raise Invalid("no_release", f'{path} does not say its release; write in it: release = "2.0"')
    if branch == "contract" and script.down_revision is None and "contract" not in script.branch_labels:
        raise Invalid("no_label", f'{path} begins a branch; write in it: branch_labels = ("contract",)')
    assertions = getattr(module, "assertions", {})
    if not isinstance(assertions, dict) or not all(isinstance(query, str) for query in assertions.values()):
        raise Invalid(
            "broken_assertions", f"the assertions of {path} must be a dict of queries by what they assert"
        )
    return Revision(script.revision, release, branch, path, script.doc, dict(assertions))


def _data_migration(path: Path) -> DataMigration:
    module = _load(path)
    release = getattr(module, "release", None)
    if not isinstance(release, str) or not release:
        raise Invalid("no_release", f'{path} does not say its release; write in it: release = "2.0"')
    backfill = getattr(module, "backfill", None)
    if isinstance(backfill, Backfill):
        return DataMigration(path.stem, release, path, backfill.pending, None, backfill)
    pending, migrate = getattr(module, "pending", None), getattr(module, "migrate", None)
    if not callable(pending) or not callable(migrate):
        raise Invalid(
            "broken_data_migration",
            f"{path} must have pending(connection) and migrate(connection, batch), or backfill = Backfill(…)",
        )
    return DataMigration(path.stem, release, path, pending, migrate, None)


def _load(path: Path) -> ModuleType:
    """The module of a file that is in no package; nothing of it stays in sys.modules."""
    name = f"hitless_data_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, Invalid) as error:
        raise Invalid("broken_data_migration", f"{path} cannot be loaded: {error}") from error
    finally:
        del sys.modules[name]
    return module
