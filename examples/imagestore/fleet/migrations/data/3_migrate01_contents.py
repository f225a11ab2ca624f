"""contents of images that were uploaded before the triggers

The images are locked while their contents are copied: a node that deletes or changes one of them waits.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

release = "3"

WAITING = "FROM images i WHERE i.sha256 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM contents c WHERE c.image_id = i.id)"
LOCK = {"mysql": " FOR UPDATE", "postgresql": " FOR UPDATE OF i", "sqlite": ""}
"""SQLite has one writer at a time anyway."""
INSERT = {
    "mysql": "INSERT IGNORE INTO contents (image_id, size, sha256) VALUES (:id, :size, :sha256)",
    "postgresql": "INSERT INTO contents (image_id, size, sha256) VALUES (:id, :size, :sha256) ON CONFLICT DO NOTHING",
    "sqlite": "INSERT OR IGNORE INTO contents (image_id, size, sha256) VALUES (:id, :size, :sha256)",
}


def pending(connection: Connection) -> int:
    return int(connection.execute(text(f"SELECT count(*) {WAITING}")).scalar_one())


def migrate(connection: Connection, batch: int) -> int:
    kind = connection.dialect.name
    find = f"SELECT i.id, i.size, i.sha256 {WAITING} LIMIT :batch{LOCK[kind]}"
    rows = connection.execute(text(find), {"batch": batch})
    found = [dict(row) for row in rows.mappings()]
    if found:
        connection.execute(text(INSERT[kind]), found)
    return len(found)
