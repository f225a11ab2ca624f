"""A group that meets in Redis (`redis://127.0.0.1:6379`, tooz's options for Sentinel and TLS), by scripts that run as one step.

tooz makes the connection. Its membership is not used: a heartbeat of a member that has run out brings it back, and nobody can
tell that it was away. Here a register that has expired can only be made anew, by a member in another life.

What Redis has not replicated when it fails over is lost with it, promises included: with Sentinel, use `min-replicas-to-write`,
or another store.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from tooz import ToozError
from tooz.coordination import get_coordinator

from hitless.agent.group.coordinator import LeaseLost, Sight, Unreachable
from hitless.agent.group.member import Register
from hitless.agent.group.record import Record

ROOT: Final = "hitless:groups"

LOOK: Final = """
local found = {redis.call('HGET', KEYS[1], 'record') or '', redis.call('HGET', KEYS[1], 'version') or '0'}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local register = redis.call('GET', KEYS[3] .. id)
  if register then
    found[#found + 1] = register
  else
    redis.call('SREM', KEYS[2], id)
  end
end
return found
"""

WRITE: Final = """
if tonumber(redis.call('HGET', KEYS[1], 'version') or '0') ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'version', tonumber(ARGV[2]) + 1)
return 1
"""

JOIN: Final = """
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1] .. ARGV[3], ARGV[1], 'PX', ARGV[2])
return 1
"""


class Redis:
    def __init__(self, url: str, group: str, *, lease_s: float, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._tls: Final = parts.scheme == "rediss"
        self._url: Final = urlunsplit(parts._replace(scheme="redis"))
        self._shown: Final = parts.netloc.rpartition("@")[2]
        self._root: Final = f"{ROOT}:{{{group}}}"
        self._lease_s: Final = lease_s
        self._timeout_s: Final = timeout_s
        self._client: Any = None
        self._id: str | None = None

    @property
    def lease_s(self) -> float:
        return self._lease_s

    def join(self, register: Register) -> None:
        self._id = register.member.id
        keys = (self._key("member:"), self._key("members"))
        self._run(JOIN, keys, register.model_dump_json(), int(self._lease_s * 1000), self._id)

    def renew(self, register: Register) -> None:
        if self._id is None:
            raise LeaseLost(f"{register.member.name} has not joined")
        said = self._ask(
            "SET",
            self._key(f"member:{self._id}"),
            register.model_dump_json(),
            "PX",
            int(self._lease_s * 1000),
            "XX",
        )
        if not said:
            raise LeaseLost(f"the lease of {register.member.name} has run out")

    def leave(self) -> None:
        member, self._id = self._id, None
        if member is not None:
            self._ask("DEL", self._key(f"member:{member}"))

    def look(self) -> Sight:
        keys = (self._key("record"), self._key("members"), self._key("member:"))
        text, version, *members = self._run(LOOK, keys)
        try:
            record = Record.model_validate_json(text) if text else Record()
            registers = [Register.model_validate_json(each) for each in members]
        except ValidationError as error:
            raise Unreachable(f"what is in {self._root} of Redis is not a group: {error}") from error
        return Sight(record, int(version), {each.member.id: each for each in registers})

    def write(self, record: Record, version: int) -> bool:
        return bool(self._run(WRITE, (self._key("record"),), record.model_dump_json(), version))

    def put(self, config: str, text: str) -> None:
        self._ask("HSET", self._key("configs"), config, text)

    def get(self, config: str) -> str | None:
        found = self._ask("HGET", self._key("configs"), config)
        return None if found is None else bytes(found).decode(errors="replace")

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(RedisError, OSError):
                client.close()

    def _key(self, name: str) -> str:
        """All of a group's keys are in one slot of a cluster."""
        return f"{self._root}:{name}"

    def _run(self, script: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        return self._ask("EVAL", script, len(keys), *keys, *arguments)

    def _ask(self, *command: Any) -> Any:
        """Raises Unreachable."""
        try:
            if self._client is None:
                self._client = self._connected()
            return self._client.execute_command(*command)
        except (ToozError, RedisError, OSError, ValueError) as error:
            self.close()
            raise Unreachable(f"Redis at {self._shown} did not answer: {error}") from error

    def _connected(self) -> Any:
        """tooz's client, which asks once: whether to try again is decided by who knows how long the lease lasts."""
        options = {"socket_timeout": str(self._timeout_s), "socket_connect_timeout": str(self._timeout_s)}
        if self._tls:
            options["ssl"] = "true"
        driver: Any = get_coordinator(self._url, b"hitless", None, **options)
        client = driver._make_client(driver._parsed_url, driver._options, self._timeout_s)
        client.set_retry(Retry(NoBackoff(), 0))
        return client
