"""Release 3: size and checksum are rows of a table of their own, `contents`."""

from __future__ import annotations

RELEASE = "3"
VISIBILITIES = ("public", "private", "shared")

SELECT = (
    "SELECT i.id, i.name, i.visibility, i.state, c.size, c.sha256"
    " FROM images i LEFT JOIN contents c ON c.image_id = i.id"
)
INSERT = "INSERT INTO images (id, name, visibility, state) VALUES (:id, :name, :visibility, 'queued')"
UPDATE = "UPDATE images SET name = :name, visibility = :visibility WHERE id = :id"
CLAIM = "UPDATE images SET state = 'saving', claim = :claim WHERE id = :id AND state = 'queued'"
RELEASE_CLAIM = "UPDATE images SET state = 'queued', claim = NULL WHERE claim = :claim"
ACTIVATE = (
    "UPDATE images SET state = 'active', claim = NULL WHERE claim = :claim",
    "INSERT INTO contents (image_id, size, sha256) VALUES (:id, :size, :sha256)",
)
DELETE = "DELETE FROM images WHERE id = :id"
