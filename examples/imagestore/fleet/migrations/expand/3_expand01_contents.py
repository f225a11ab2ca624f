"""size and checksum in a table of their own, kept in step with the columns of images

Release 2 writes `images.size` and `images.sha256`, release 3 writes `contents`. Triggers carry each over to the other, written
for each database. None of them writes where the other side says the same already, which ends the echo: MariaDB
refuses to change a table whose trigger is at work.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3_expand01"
down_revision = "2_expand01"
branch_labels = None
depends_on = None
release = "3"

MARIADB = (
    """
    CREATE TRIGGER contents_of_images AFTER UPDATE ON images FOR EACH ROW
    IF NEW.sha256 IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM contents WHERE image_id = NEW.id AND size = NEW.size AND sha256 = NEW.sha256)
    THEN
        INSERT INTO contents (image_id, size, sha256) VALUES (NEW.id, NEW.size, NEW.sha256)
        ON DUPLICATE KEY UPDATE size = NEW.size, sha256 = NEW.sha256;
    END IF
    """,
    """
    CREATE TRIGGER images_of_contents AFTER INSERT ON contents FOR EACH ROW
    IF NOT EXISTS (SELECT 1 FROM images WHERE id = NEW.image_id AND size <=> NEW.size AND sha256 <=> NEW.sha256)
    THEN
        UPDATE images SET size = NEW.size, sha256 = NEW.sha256 WHERE id = NEW.image_id;
    END IF
    """,
)
POSTGRESQL = (
    """
    CREATE FUNCTION contents_of_images() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO contents (image_id, size, sha256) VALUES (NEW.id, NEW.size, NEW.sha256)
        ON CONFLICT (image_id) DO UPDATE SET size = NEW.size, sha256 = NEW.sha256;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER contents_of_images AFTER UPDATE OF size, sha256 ON images FOR EACH ROW
    WHEN (NEW.sha256 IS NOT NULL AND pg_trigger_depth() = 0) EXECUTE FUNCTION contents_of_images()
    """,
    """
    CREATE FUNCTION images_of_contents() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE images SET size = NEW.size, sha256 = NEW.sha256 WHERE id = NEW.image_id;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER images_of_contents AFTER INSERT ON contents FOR EACH ROW
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION images_of_contents()
    """,
)
SQLITE = (
    """
    CREATE TRIGGER contents_of_images AFTER UPDATE OF size, sha256 ON images FOR EACH ROW
    WHEN NEW.sha256 IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM contents WHERE image_id = NEW.id AND size = NEW.size AND sha256 = NEW.sha256)
    BEGIN
        INSERT INTO contents (image_id, size, sha256) VALUES (NEW.id, NEW.size, NEW.sha256)
        ON CONFLICT (image_id) DO UPDATE SET size = NEW.size, sha256 = NEW.sha256;
    END
    """,
    """
    CREATE TRIGGER images_of_contents AFTER INSERT ON contents FOR EACH ROW
    WHEN NOT EXISTS (SELECT 1 FROM images WHERE id = NEW.image_id AND size IS NEW.size AND sha256 IS NEW.sha256)
    BEGIN
        UPDATE images SET size = NEW.size, sha256 = NEW.sha256 WHERE id = NEW.image_id;
    END
    """,
)
TRIGGERS = {"mysql": MARIADB, "mariadb": MARIADB, "postgresql": POSTGRESQL, "sqlite": SQLITE}


def upgrade() -> None:
    op.create_table(
        "contents",
        sa.Column(
            "image_id", sa.String(32), sa.ForeignKey("images.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    for trigger in TRIGGERS[op.get_context().dialect.name]:
        op.execute(trigger)
