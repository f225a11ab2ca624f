"""What clients ask for, as lines of JSON: `{"id": "r1", "do": "copy", "volume": "a", "to": "b", "backend": "disk"}`.

create, write, copy and delete are answered twice: `accepted` when they are in the catalogue, then `done` or `failed`. The others
are answered once. What cannot be accepted is `refused`, with a reason, and nothing has happened.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from volumes.driver import NAME, VolumeError

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
LARGEST_BYTES = 4 * 1024 * 1024
"""Of one read or write."""


class Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=100)]
    """The client's, and of no other request; what a lost answer is asked again with."""
    volume: Name


class Create(Asked):
    do: Literal["create"]
    size: Annotated[int, Field(gt=0)]
    backend: str | None = None


class Write(Asked):
    do: Literal["write"]
    offset: Annotated[int, Field(ge=0)] = 0
    data: Annotated[Base64Bytes, Field(max_length=LARGEST_BYTES)]


class Copy(Asked):
    do: Literal["copy"]
    to: Name
    backend: str | None = None


class Delete(Asked):
    do: Literal["delete"]


class Read(Asked):
    do: Literal["read"]
    offset: Annotated[int, Field(ge=0)] = 0
    length: Annotated[int, Field(ge=0, le=LARGEST_BYTES)]


class Checksum(Asked):
    """SHA-256 of the whole volume."""

    do: Literal["checksum"]


class Show(Asked):
    """What the catalogue has of the volume."""

    do: Literal["show"]


Order = Create | Write | Copy | Delete | Read | Checksum | Show
ADAPTER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="do")])


class BadOrder(VolumeError):
    """It is not understood."""


def parse(line: bytes) -> Order:
    """Raises BadOrder."""
    try:
        return ADAPTER.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadOrder(f"{where or 'the request'}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None
