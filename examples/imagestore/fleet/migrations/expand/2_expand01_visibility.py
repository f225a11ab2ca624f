"""visibility beside is_public, kept in step both ways"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hitless.schema import DualWrite

revision = "2_expand01"
down_revision = "1_expand01"
branch_labels = None
depends_on = None
release = "2"

pair = DualWrite(
    table="images",
    old="is_public",
    new="visibility",
    up="case when {is_public} then 'public' else 'private' end",
    down="{visibility} = 'public'",
)


def upgrade() -> None:
    op.add_column("images", sa.Column("visibility", sa.String(16)))
    pair.create(op)
