"""Release 1: an image is public or not; size and checksum are columns of its row."""

from __future__ import annotations

RELEASE = "1"
VISIBILITIES = ("public", "private")

SELECT = (
    "SELECT i.id, i.name, CASE WHEN i.is_public THEN 'public' ELSE 'private' END AS visibility,"
    " i.state, i.size, i.sha256 FROM images i"
)
INSERT = (
    "INSERT INTO images (id, name, is_public, state)"
    " VALUES (:id, :name, CASE WHEN :visibility = 'public' THEN true ELSE false END, 'queued')"
)
UPDATE = (
    "UPDATE images SET name = :name, is_public = CASE WHEN :visibility = 'public' THEN true ELSE false END"
    " WHERE id = :id"
)
CLAIM = "UPDATE images SET state = 'saving', claim = :claim WHERE id = :id AND state = 'queued'"
RELEASE_CLAIM = "UPDATE images SET state = 'queued', claim = NULL WHERE claim = :claim"
ACTIVATE = (
    "UPDATE images SET state = 'active', claim = NULL, size = :size, sha256 = :sha256 WHERE claim = :claim",
)
DELETE = "DELETE FROM images WHERE id = :id"
