"""Release 2: `visibility` instead of `is_public`, so that an image can be shared as well."""

from __future__ import annotations

RELEASE = "2"
VISIBILITIES = ("public", "private", "shared")

SELECT = "SELECT i.id, i.name, i.visibility, i.state, i.size, i.sha256 FROM images i"
INSERT = "INSERT INTO images (id, name, visibility, state) VALUES (:id, :name, :visibility, 'queued')"
UPDATE = "UPDATE images SET name = :name, visibility = :visibility WHERE id = :id"
CLAIM = "UPDATE images SET state = 'saving', claim = :claim WHERE id = :id AND state = 'queued'"
RELEASE_CLAIM = "UPDATE images SET state = 'queued', claim = NULL WHERE claim = :claim"
ACTIVATE = (
    "UPDATE images SET state = 'active', claim = NULL, size = :size, sha256 = :sha256 WHERE claim = :claim",
)
DELETE = "DELETE FROM images WHERE id = :id"
