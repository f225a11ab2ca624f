"""The migrations of a small image store in three releases, as files: what the tests run on every database.

1: images(id, name, is_public). 2: visibility instead of is_public, kept in step while both run, then is_public is
dropped. 3: size in KiB besides bytes, only added.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

HEAD = """\
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hitless.schema import Backfill, DualWrite

revision = "{id}"
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = {depends!r}
release = "{release}"
"""
PAIR = """\
pair = DualWrite(
    table="images", old="is_public", new="visibility",
    up="case when {is_public} then 'public' else 'private' end", down="{visibility} = 'public'",
)
"""


def write(
    folder: Path,
    kind: str,
    id_: str,
    release: str,
    body: str,
    *,
    down: str | None = None,
    depends: str | None = None,
) -> Path:
    """One revision's file."""
    path = folder / "migrations" / kind / f"{id_}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = None if down else (kind,)
    head = HEAD.format(id=id_, down=down, labels=labels, depends=depends, release=release)
    path.write_text(f'"""{id_} of the tests"""\n{head}\n{dedent(body)}')
    return path


def write_data(folder: Path, name: str, release: str, body: str) -> Path:
    path = folder / "migrations" / "data" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"from __future__ import annotations\nrelease = {release!r}\n{dedent(body)}")
    return path


def release_1(folder: Path) -> None:
    write(folder, "expand", "r1_expand01", "1", """
        def upgrade():
            op.create_table(
                "images",
                sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
                sa.Column("name", sa.String(64), nullable=False),
                sa.Column("is_public", sa.Boolean, nullable=False, server_default=sa.false()),
                sa.Column("bytes", sa.BigInteger),
            )
    """)  # fmt: skip
    write(folder, "contract", "r1_contract01", "1", "def upgrade(): pass\n", depends="r1_expand01")


def release_2(folder: Path) -> None:
    write(folder, "expand", "r2_expand01", "2", PAIR + dedent("""
        def upgrade():
            op.add_column("images", sa.Column("visibility", sa.String(16)))
            pair.create(op)
    """), down="r1_expand01")  # fmt: skip
    write_data(
        folder,
        "r2_migrate01",
        "2",
        "from hitless.schema import DualWrite\n" + PAIR + "backfill = pair.backfill()\n",
    )
    write(folder, "contract", "r2_contract01", "2", PAIR + dedent("""
        assertions = {"every image has a visibility": "SELECT id FROM images WHERE visibility IS NULL"}

        def upgrade():
            pair.drop(op)
            op.drop_column("images", "is_public")
    """), down="r1_contract01", depends="r2_expand01")  # fmt: skip


def release_3(folder: Path) -> None:
    write(folder, "expand", "r3_expand01", "3", """
        def upgrade():
            op.add_column("images", sa.Column("kib", sa.BigInteger))
    """, down="r2_expand01")  # fmt: skip
    write_data(
        folder,
        "r3_migrate01",
        "3",
        """
        from sqlalchemy import text

        def pending(connection):
            return connection.execute(text("SELECT count(*) FROM images WHERE kib IS NULL AND bytes IS NOT NULL")).scalar()

        def migrate(connection, batch):
            find = "SELECT id FROM images WHERE kib IS NULL AND bytes IS NOT NULL ORDER BY id LIMIT :batch"
            ids = connection.execute(text(find), {"batch": batch}).scalars().all()
            for id_ in ids:
                connection.execute(text("UPDATE images SET kib = bytes / 1024 WHERE id = :id"), {"id": id_})
            return len(ids)
    """,
    )
    write(
        folder,
        "contract",
        "r3_contract01",
        "3",
        "def upgrade(): pass\n",
        down="r2_contract01",
        depends="r3_expand01",
    )


def all_releases(folder: Path) -> None:
    for release in (release_1, release_2, release_3):
        release(folder)
