"""New migrations: the folder that `hitless db init` makes and the files that `hitless db revision` adds to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from hitless.schema.errors import Invalid
from hitless.schema.project import DATA, Branch, Project

Part = Literal["expand", "migrate", "contract"]
PARTS: Final[tuple[Part, ...]] = ("expand", "migrate", "contract")
FOLDERS: Final[dict[Part, str]] = {"expand": "expand", "migrate": DATA, "contract": "contract"}
RELEASE: Final = re.compile(r"\w[\w.+-]{0,31}")

SETTINGS: Final = """\
# The database of the service; the rest has defaults, see docs/db.md.
url = "{url}"
service = "{service}"
"""
EXPAND: Final = '''\
"""{message}"""

from __future__ import annotations

from alembic import op

revision = "{id}"
down_revision = {down}
branch_labels = {labels}
depends_on = None
release = "{release}"


def upgrade() -> None:
    """Adds only: the release before this one goes on running while and after it runs."""
'''
MIGRATE: Final = '''\
"""{message}"""

from __future__ import annotations

from sqlalchemy import Connection

release = "{release}"


def pending(connection: Connection) -> int:
    """How many rows still wait."""
    return 0


def migrate(connection: Connection, batch: int) -> int:
    """Moves at most `batch` rows in the transaction that is open; returns how many."""
    return 0
'''
CONTRACT: Final = '''\
"""{message}"""

from __future__ import annotations

from alembic import op

revision = "{id}"
down_revision = {down}
branch_labels = {labels}
depends_on = {depends}
release = "{release}"
# Queries that must give no rows, or nothing of this revision runs.
assertions: dict[str, str] = {{}}


def upgrade() -> None:
    """Removes what only the release before this one needed."""
'''


def init(folder: Path, *, migrations: str, settings_file: str, url: str, service: str) -> tuple[Path, ...]:
    """Make the migrations' folder and the settings' file; what is there already stays. Returns what was made."""
    made = []
    for part in PARTS:
        path = folder / migrations / FOLDERS[part]
        if not path.is_dir():
            path.mkdir(parents=True)
            made.append(path)
    file = folder / settings_file
    if not file.exists():
        file.write_text(SETTINGS.format(url=url, service=service))
        file.chmod(0o600)  # the url may come to hold a password
        made.append(file)
    return tuple(made)


def add_revision(folder: Path, release: str, message: str, *, only: Iterable[Part] = ()) -> tuple[Path, ...]:
    """Write the files of a release: an expand and a contract revision and a data migration, or some of them.

    Raises:
        Invalid: the release is no name, or there is no folder yet.
    """
    if not RELEASE.fullmatch(release):
        raise Invalid(
            "invalid_release",
            f"{release!r} is no name of a release; use letters, digits, dots and underscores",
        )
    project = Project(folder)
    parts = [part for part in PARTS if part in (tuple(only) or PARTS)]
    made: list[Path] = []
    expand = _head(project, "expand")
    for part in parts:
        number = _next_number(folder, release, part)
        id_ = f"{_word(release)}_{part}{number:02d}"
        path = folder / FOLDERS[part] / f"{id_}_{_slug(message)}.py"
        path.parent.mkdir(exist_ok=True)
        if part == "migrate":
            text = MIGRATE.format(message=message, release=release)
        elif part == "expand":
            text = EXPAND.format(message=message, id=id_, release=release, **_after(project, "expand"))
            expand = id_
        else:
            text = CONTRACT.format(
                message=message, id=id_, release=release, depends=_text(expand), **_after(project, "contract")
            )
        path.write_text(text)
        made.append(path)
    return tuple(made)


def _after(project: Project, branch: Branch) -> dict[str, str]:
    """The lines that append a revision to a branch, or begin it."""
    head = _head(project, branch)
    return {"down": _text(head), "labels": "None" if head else f'("{branch}",)'}


def _head(project: Project, branch: Branch) -> str | None:
    revisions = [
        revision
        for release in project.releases
        for revision in (release.expand if branch == "expand" else release.contract)
    ]
    return revisions[-1].id if revisions else None


def _next_number(folder: Path, release: str, part: Part) -> int:
    found = (folder / FOLDERS[part]).glob(f"{_word(release)}_{part}[0-9][0-9]*.py")
    return 1 + max((int(path.name[len(_word(release)) + len(part) + 1 :][:2]) for path in found), default=0)


def _word(release: str) -> str:
    return re.sub(r"[^\w]", "_", release)


def _slug(message: str) -> str:
    return re.sub(r"[^\w]+", "_", message.lower()).strip("_")[:40] or "change"


def _text(name: str | None) -> str:
    return "None" if name is None else f'"{name}"'
