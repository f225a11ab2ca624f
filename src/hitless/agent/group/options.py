"""`[group]` of agent.toml: where the group meets, and how quickly it notices."""

from __future__ import annotations

import socket
import time
import uuid
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hitless.agent.group.member import Member
from hitless.agent.group.protocol import Rules
from hitless.config import Seconds

NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$"


class GroupSettings(BaseModel):
    """`lead`, `prepare` and `quorum` should be the same for all members: whoever takes a step goes by its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=NAME)] = Field(
        description="of the group: agents of the same one share the work"
    )
    url: str = Field(
        "file:///var/lib/hitless/groups",
        description="where it meets: file:///DIRECTORY, etcd3+http://HOST:PORT, zookeeper://HOST:PORT, redis://HOST:PORT",
    )
    member: Annotated[str, Field(pattern=NAME)] | None = Field(
        None, description="of this agent, its own in the group; the host's name and the agent's if unset"
    )
    host: str = Field(default_factory=socket.gethostname, description="whose local resources it may poll")
    weight: Annotated[int, Field(ge=1, le=100)] = Field(1, description="its share, relative to the others'")
    lease: Annotated[Seconds, Field(ge=0.5)] = Field(
        10.0, description="a member that has not been heard of for so long is gone"
    )
    look: Annotated[Seconds, Field(ge=0.02)] = Field(0.5, description="how often it looks what is new")
    lead: Annotated[Seconds, Field(ge=0.1)] = Field(
        1.0, description="from setting a boundary to the boundary; more than twice what clocks may differ"
    )
    prepare: Annotated[Seconds, Field(gt=0)] = Field(
        60.0, description="for all members together to prepare an epoch"
    )
    quorum: Literal["all", "majority"] = Field(
        "all", description="who must have prepared an epoch; with majority the others are left out"
    )
    timeout: Annotated[Seconds, Field(gt=0)] | None = Field(
        None, description="for one question to the place where it meets; a quarter of the lease if unset"
    )

    @model_validator(mode="after")
    def _is_in_proportion(self) -> GroupSettings:
        if self.look > self.lease / 4:
            raise ValueError("look must be at most a quarter of lease, or leases run out between two looks")
        if self.look > self.lead / 2:
            raise ValueError(
                "look must be at most half of lead, or boundaries pass before everybody knows them"
            )
        return self

    @property
    def timeout_s(self) -> float:
        return self.lease / 4 if self.timeout is None else min(self.timeout, self.lease)

    @property
    def rules(self) -> Rules:
        return Rules(int(self.lead * 1000), int(self.prepare * 1000), self.quorum)

    def new_member(self, agent: str) -> Member:
        """In a new life; `agent` is the agent's name."""
        return Member(
            name=self.member or f"{self.host}.{agent}",
            incarnation=f"{time.time_ns() // 1_000_000:x}-{uuid.uuid4().hex[:8]}",
            host=self.host,
            weight=self.weight,
        )
