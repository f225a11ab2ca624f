"""size and sha256 go from images"""

from __future__ import annotations

from alembic import op

revision = "3_contract01"
down_revision = "2_contract01"
branch_labels = None
depends_on = "3_expand01"
release = "3"
assertions = {
    "every active image has its contents": (
        "SELECT i.id FROM images i LEFT JOIN contents c ON c.image_id = i.id"
        " WHERE i.state = 'active' AND c.image_id IS NULL"
    ),
    "contents are what images say": (
        "SELECT i.id FROM images i JOIN contents c ON c.image_id = i.id"
        " WHERE i.sha256 <> c.sha256 OR i.size <> c.size"
    ),
}


def upgrade() -> None:
    on = " ON {}" if op.get_context().dialect.name == "postgresql" else ""
    for trigger, table in (("contents_of_images", "images"), ("images_of_contents", "contents")):
        op.execute(f"DROP TRIGGER {trigger}{on.format(table)}")
        if on:
            op.execute(f"DROP FUNCTION {trigger}()")
    op.drop_column("images", "size")
    op.drop_column("images", "sha256")
