"""images"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1_expand01"
down_revision = None
branch_labels = ("expand",)
depends_on = None
release = "1"


def upgrade() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("is_public", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("claim", sa.String(32)),
        sa.Column("size", sa.BigInteger),
        sa.Column("sha256", sa.String(64)),
    )
    op.create_index("images_claim", "images", ["claim"])
