"""nothing to remove"""

from __future__ import annotations

revision = "1_contract01"
down_revision = None
branch_labels = ("contract",)
depends_on = "1_expand01"
release = "1"


def upgrade() -> None:
    pass
