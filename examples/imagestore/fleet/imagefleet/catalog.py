"""The catalogue of images. The SQL is the release's: this module knows no columns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, text

from imagefleet import release
from imagefleet.database import engine_of, transaction


class NotFound(LookupError):
    """There is no such image, or it has no content yet."""


class Conflict(Exception):
    """The image has content already, or is being uploaded."""


class Invalid(ValueError):
    """The request makes no sense."""


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    name: str
    visibility: str
    state: str
    """queued, then saving while one upload has claimed it, then active."""
    size: int | None
    sha256: str | None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class Catalog:
    """One engine per process, made after the fork."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = engine_of(url, f"imagestore/{release.RELEASE}")

    def close(self) -> None:
        self._engine.dispose()

    def check(self) -> None:
        self.listing(limit=1)

    def create(self, name: object, visibility: object) -> Image:
        image = Image(uuid4().hex, _name(name), _visibility(visibility), "queued", None, None)
        self._change(release.INSERT, id=image.id, name=image.name, visibility=image.visibility)
        return image

    def claim(self, image: str) -> str:
        """Claim a queued image for one upload.

        Raises:
            NotFound, Conflict
        """
        claim = uuid4().hex
        if not self._change(release.CLAIM, id=image, claim=claim):
            raise Conflict(f"image {self.get(image).id} has content or is being uploaded")
        return claim

    def release(self, claim: str) -> None:
        """The claimed upload failed."""
        self._change(release.RELEASE_CLAIM, claim=claim)

    def activate(self, image: str, claim: str, *, size: int, sha256: str) -> Image:
        """The claimed upload is complete."""
        values = {"id": image, "claim": claim, "size": size, "sha256": sha256}

        def work(connection: Connection) -> None:
            for statement in release.ACTIVATE:
                if not connection.execute(text(statement), values).rowcount:
                    raise Conflict(f"image {image} was deleted during its upload")

        transaction(self._engine, work)
        return self.get(image)

    def get(self, image: str) -> Image:
        """Raises NotFound."""
        found = self._query(f"{release.SELECT} WHERE i.id = :id", id=image)
        if not found:
            raise NotFound(f"no image {image}")
        return found[0]

    def listing(self, *, after: str = "", limit: int = 100) -> list[Image]:
        """In the order of their ids."""
        return self._query(
            f"{release.SELECT} WHERE i.id > :after ORDER BY i.id LIMIT :limit", after=after, limit=limit
        )

    def change(self, image: str, *, name: object, visibility: object) -> Image:
        """Raises NotFound, Invalid."""
        self._change(release.UPDATE, id=image, name=_name(name), visibility=_visibility(visibility))
        return self.get(image)  # not the count of rows: MariaDB counts only those that differ now

    def delete(self, image: str) -> None:
        """Raises NotFound."""
        if not self._change(release.DELETE, id=image):
            raise NotFound(f"no image {image}")

    def _change(self, statement: str, **values: object) -> int:
        return transaction(
            self._engine, lambda connection: connection.execute(text(statement), values).rowcount
        )

    def _query(self, statement: str, **values: object) -> list[Image]:
        def work(connection: Connection) -> list[Image]:
            return [_image(row) for row in connection.execute(text(statement), values)]

        return transaction(self._engine, work)


def _image(row: Any) -> Image:
    return Image(row.id, row.name, row.visibility, row.state, row.size, row.sha256)


def _name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise Invalid("name must be text of 1 to 200 characters")
    return value


def _visibility(value: object) -> str:
    if value not in release.VISIBILITIES:
        raise Invalid(f"visibility must be one of {', '.join(release.VISIBILITIES)}")
    return str(value)
