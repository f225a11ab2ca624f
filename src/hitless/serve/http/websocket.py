"""WebSockets: RFC 6455 by wsproto, spoken to the application as ASGI (WebSocket message format 2.3).

Imported when a first upgrade comes, because wsproto brings an HTTP parser of its own along.
"""

from __future__ import annotations

import re
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.events import (
    Message as MessageEvent,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from hitless.serve.http.asgi import AsgiExchange, Message, Scope, checked_status
from hitless.serve.http.errors import ClientGone, RequestRefused
from hitless.serve.http.states import State

if TYPE_CHECKING:
    from hitless.serve.http.connection import Connection

VERSION: Final = b"13"
KEY: Final = re.compile(rb"[0-9A-Za-z+/]{22}==")
"""Sixteen bytes as base64 (RFC 6455, 4.1)."""
MESSAGE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of one message, where no limit of bodies is set."""
HELD_LIMIT: Final = 65536
HELD_MESSAGES: Final = 64
"""What waits for the application before the client has to wait."""

NO_CODE: Final = 1005
ABNORMAL: Final = 1006
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012


class Stage(IntEnum):
    """Where the application stands with its WebSocket."""

    CONNECTING = 0
    OPEN = 1
    DENYING = 2
    """It answers with an ordinary response (extension `websocket.http.response`)."""
    CLOSED = 3


class WebSocketExchange(AsgiExchange):
    """One WebSocket and its application."""

    __slots__ = (
        "_close_code",
        "_close_reason",
        "_held",
        "_inbox",
        "_is_probed",
        "_parts",
        "_size",
        "_ws",
        "stage",
    )

    def __init__(self, connection: Connection) -> None:
        self._ws = WSConnection(ConnectionType.SERVER)
        super().__init__(connection)
        self.keep = False
        self.stage = Stage.CONNECTING
        self._inbox: deque[Message] = deque([{"type": "websocket.connect"}])
        self._parts: list[Any] = []
        self._size = self._held = 0
        self._close_code = ABNORMAL
        self._close_reason = ""
        self._is_probed = False

    def _scope(self, connection: Connection) -> Scope:
        scope = super()._scope(connection)
        scope["type"] = "websocket"
        del scope["method"]
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = self._handshake().subprotocols
        scope["extensions"] = {"websocket.http.response": {}}
        return scope

    def _handshake(self) -> Request:
        versions = [value for name, value in self.fields if name == b"sec-websocket-version"]
        if versions and versions != [VERSION]:
            # RFC 6455, 4.4: say which version would do.
            raise RequestRefused(
                426,
                "the only WebSocket version spoken here is 13",
                (b"upgrade", b"websocket"),
                (b"sec-websocket-version", VERSION),
            )
        keys = [value for name, value in self.fields if name == b"sec-websocket-key"]
        if len(keys) != 1 or not KEY.fullmatch(keys[0]):
            raise RequestRefused(400, "this is no WebSocket handshake: it needs one Sec-WebSocket-Key")
        try:
            self._ws.initiate_upgrade_connection(self.fields, self.target.decode("ascii"))
        except (RemoteProtocolError, LocalProtocolError, ValueError) as error:
            # ValueError: bytes where wsproto decodes text.
            raise RequestRefused(400, f"this is no WebSocket handshake: {error}") from error
        request = next(self._ws.events(), None)
        if not isinstance(request, Request):
            raise RequestRefused(400, "this is no WebSocket handshake")
        return request

    def kind_now(self) -> str:
        return "websocket"

    # What the application calls.

    async def receive(self) -> Message:
        """ASGI `receive`."""
        while not self._inbox:
            if self.stage is Stage.CLOSED:
                return {
                    "type": "websocket.disconnect",
                    "code": self._close_code,
                    "reason": self._close_reason,
                }
            await self._news_came()
        message = self._inbox.popleft()
        self._held -= len(message.get("text") or message.get("bytes") or b"")
        if self._held <= HELD_LIMIT and len(self._inbox) < HELD_MESSAGES:
            self.connection.resume_reading()
        return message

    async def send(self, message: Message) -> None:
        """ASGI `send`.

        Raises:
            ClientGone: the client has closed the WebSocket.
            RuntimeError: the message makes no sense now.
        """
        kind = message["type"]
        action = _ACTIONS.get((self.stage, kind))
        if action is None:
            if self.gone or (self.stage is Stage.CLOSED and kind != "websocket.close"):
                raise ClientGone("the WebSocket is closed")
            raise RuntimeError(
                f"the application sent {kind!r} to a WebSocket that is {self.stage.name.lower()}"
            )
        if self.gone:
            raise ClientGone("the client closed the connection")
        action(self, message)
        if self.connection.write_paused:
            await self.connection.wait_writable()

    def _accept(self, message: Message) -> None:
        fields = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        reply = AcceptConnection(subprotocol=message.get("subprotocol"), extra_headers=fields)
        self.connection.transport.write(self._ws.send(reply))
        self.stage = Stage.OPEN
        self.begun = True
        self.status = 101
        kept = self.connection.upgraded(self)
        if kept:
            self.receive_data(kept)

    def _send_data(self, message: Message) -> None:
        data = message.get("bytes")
        event: Event = TextMessage(data=message["text"]) if data is None else BytesMessage(data=data)
        self.connection.transport.write(self._ws.send(event))

    def _reject(self, message: Message) -> None:  # noqa: ARG002 - as every action
        self.stage = Stage.CLOSED
        self.begin(403, [(b"content-type", b"text/plain; charset=utf-8")], b"", more=False)

    def _deny(self, message: Message) -> None:
        self.status = checked_status(message["status"])
        self._fields = message.get("headers", ())
        self.stage = Stage.DENYING

    def _deny_body(self, message: Message) -> None:
        more = message.get("more_body", False)
        body = message.get("body", b"")
        if not more:
            self.stage = Stage.CLOSED
        if self.begun:
            self.go_on(body, more=more)
        else:
            self.begin(self.status, self._fields, body, more=more)

    def _close(self, message: Message) -> None:
        self._end(message.get("code", 1000), message.get("reason") or "")

    # What the connection tells.

    def receive_data(self, data: bytes) -> None:
        self._is_probed = False
        self.connection.expect_data()
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                self._take(event)
        except RemoteProtocolError as error:
            self._protocol_error(error)
        if self._held > HELD_LIMIT or len(self._inbox) >= HELD_MESSAGES:
            self.connection.pause_reading()
        self.wake()

    def _protocol_error(self, error: RemoteProtocolError) -> None:
        hint = error.event_hint
        if isinstance(hint, CloseConnection):
            self._end(int(hint.code), hint.reason or "")
        else:
            self._end(1002, "protocol error")

    def _take(self, event: Event) -> None:
        if self.stage is not Stage.OPEN:
            return
        if isinstance(event, MessageEvent):
            self._take_message(event)
        elif isinstance(event, Ping):
            self.connection.transport.write(self._ws.send(event.response()))
        elif isinstance(event, CloseConnection):
            self.connection.transport.write(self._ws.send(event.response()))
            self._closed(int(event.code), event.reason or "")
            self.connection.end()

    def _take_message(self, event: MessageEvent[Any]) -> None:
        data = event.data
        self._size += len(data)
        if self._size > (self.connection.engine.options.body_bytes or MESSAGE_LIMIT):
            self._end(TOO_BIG, "message too big")
            return
        self._parts.append(data if isinstance(data, str) else bytes(data))
        if not event.message_finished:
            return
        key, empty = ("text", "") if isinstance(event, TextMessage) else ("bytes", b"")
        self._inbox.append({"type": "websocket.receive", key: empty.join(self._parts)})
        self._held += self._size
        self._parts.clear()
        self._size = 0

    def _end(self, code: int, reason: str) -> None:
        """Close from our side; the client's own close frame is not waited for longer than a lingering close
        takes.
        """
        if self.stage is Stage.OPEN and not self.gone:
            self.connection.transport.write(self._ws.send(CloseConnection(code=code, reason=reason)))
            self._closed(code, reason)
            self.connection.end(patiently=True)

    def _closed(self, code: int, reason: str) -> None:
        self.stage = Stage.CLOSED
        self._close_code = code
        self._close_reason = reason
        self.wake()

    def probe(self) -> None:
        """Nothing came for long: see whether the client is still there, or give up if it was asked before."""
        if self._is_probed:
            self.connection.abort()
            return
        self._is_probed = True
        self.connection.transport.write(self._ws.send(Ping()))
        self.connection.expect_data()

    def end_stream(self) -> None:
        self.is_told_to_end = True
        self._end(SERVICE_RESTART, "service restart")

    def client_left(self) -> None:
        self._closed(self._close_code, self._close_reason)

    def disconnected(self) -> None:
        self.gone = True
        if self.stage is not Stage.CLOSED:
            self._closed(ABNORMAL, "")
        self.wake()

    def returned(self) -> None:
        if self.stage is Stage.OPEN:
            self._end(1000, "")
        elif self.stage is not Stage.CLOSED:
            super().returned()

    def _unfinished(self) -> None:
        if self.connection.state is State.WEBSOCKET:
            self._end(INTERNAL_ERROR, "internal error")
        else:
            super()._unfinished()


_ACTIONS: Final = {
    (Stage.CONNECTING, "websocket.accept"): WebSocketExchange._accept,
    (Stage.CONNECTING, "websocket.close"): WebSocketExchange._reject,
    (Stage.CONNECTING, "websocket.http.response.start"): WebSocketExchange._deny,
    (Stage.DENYING, "websocket.http.response.body"): WebSocketExchange._deny_body,
    (Stage.OPEN, "websocket.send"): WebSocketExchange._send_data,
    (Stage.OPEN, "websocket.close"): WebSocketExchange._close,
}
"""What the application may send, by stage."""
