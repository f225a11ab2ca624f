"""is_public goes"""

from __future__ import annotations

from alembic import op

from hitless.schema import DualWrite

revision = "2_contract01"
down_revision = "1_contract01"
branch_labels = None
depends_on = "2_expand01"
release = "2"
assertions = {"every image has a visibility": "SELECT id FROM images WHERE visibility IS NULL"}

pair = DualWrite(
    table="images",
    old="is_public",
    new="visibility",
    up="case when {is_public} then 'public' else 'private' end",
    down="{visibility} = 'public'",
)


def upgrade() -> None:
    pair.drop(op)
    op.drop_column("images", "is_public")
