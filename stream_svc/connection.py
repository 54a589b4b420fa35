"""One WebSocket client: watches a set of boards, and may bring a token.

picows reads and writes frames (an iteration over 1,000 connections is C, not coroutines); what spans frames is
`messages`, what they mean is `client_frame`.
Holds always: while a client does not read, nothing is written to it and nothing read from it, so that what it costs is
bounded; when that lasts longer than the write timeout, it is cut off.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from dataclasses import dataclass, field

import picows

from mesh.identity import Identity, TokenVerifier
from mesh.reasons import Reason
from mesh.refusal import Refused, invalid
from stream_svc import client_frame, endings, figures
from stream_svc.addresses import Addresses
from stream_svc.client_frame import Authorize, Watch
from stream_svc.endings import Ending
from stream_svc.frames import Format
from stream_svc.handshake import error_body
from stream_svc.hub import Hub
from stream_svc.messages import Assembler, Broken, Kind
from stream_svc.sessions import Sessions
from stream_svc.watcher import Watcher
from stream_svc.wish import Wish

log = logging.getLogger(__name__)

WRITE_BUFFER_BYTES_MAX = 64 * 1024  # a few frames; past it the client counts as not reading
SOCKET_BUFFER_BYTES = 64 * 1024  # the kernel would let it grow to some MB a connection
INBOX_MAX = 16  # messages in waiting; a client that asks faster than it is answered is refused
CLOSE_WITHIN_S = 1.0  # for the client's half of the closing handshake
# RFC 6455, section 7.4, and its registry: 1004 has no meaning, 1005, 1006 and 1015 never stand on the wire.
CLOSE_CODES = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


@dataclass(slots=True)
class Shared:
    """What connections share."""

    hub: Hub
    sessions: Sessions
    verifier: TokenVerifier
    addresses: Addresses
    write_timeout_s: float
    connections: set[Connection] = field(default_factory=set)


class Connection(picows.WSListener):
    """One client. Its messages are handled one after the other; frames go out whenever it reads."""

    def __init__(self, shared: Shared, address: str) -> None:
        self._shared = shared
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._transport: picows.WSTransport | None = None
        self._assembler = Assembler()
        self._watchers: dict[Wish, _Watcher] = {}
        self._places = 1  # that it takes of those of its address: one a board
        self._identity: Identity | None = None
        self._inbox: deque[bytes | None] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._hung: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_ended = False

    # Called by picows.

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Shows the default board."""
        self._transport = transport
        tcp = transport.underlying_transport
        tcp.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        tcp.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self._shared.connections.add(self)
        self._shared.addresses.take(self._address)
        self._receive(None)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Takes a frame; one that breaks the protocol ends the connection."""
        if self._is_ended and frame.msg_type != picows.WSMsgType.CLOSE:
            return
        try:
            if frame.rsv1 or frame.rsv2 or frame.rsv3:
                raise Broken(endings.PROTOCOL_ERROR)  # section 5.2: no extension was agreed on
            if frame.msg_type == picows.WSMsgType.CLOSE:
                self._on_close(frame)
            elif frame.msg_type == picows.WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            elif frame.msg_type != picows.WSMsgType.PONG:
                kind = _KINDS[frame.msg_type]
                if message := self._assembler.add(kind, bool(frame.fin), frame.get_payload_as_bytes()):
                    self._on_message(*message)
        except Broken as e:
            self.end(e.ending)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Forgets everything about the client."""
        self._is_ended = True
        self._forget()

    def pause_writing(self) -> None:
        """The client does not read: no frames, no answers, and the clock runs."""
        self._is_paused = True
        if self._transport is not None and not self._is_ended:
            self._transport.underlying_transport.pause_reading()  # what it says would have to be answered
            self._hung = self._loop.call_later(self._shared.write_timeout_s, self.end, endings.SLOW_CONSUMER)

    def resume_writing(self) -> None:
        """The client reads again and gets the newest."""
        self._is_paused = False
        if self._hung is not None:
            self._hung.cancel()
            self._hung = None
            if self._transport is not None and not self._transport.is_disconnected:
                self._transport.underlying_transport.resume_reading()
        self.flush()

    # Called by watchers.

    def flush(self) -> None:
        """Writes what waits, as long as the client reads."""
        if self._is_ended:
            return
        now = self._loop.time()
        for watcher in tuple(self._watchers.values()):
            if watcher.ending is not None:
                self.end(watcher.ending)
                return
            if self._is_paused:
                continue
            if watcher.has_news:
                for frame in watcher.take(now):
                    self._send(frame)

    def lose_identity(self, ending: Ending) -> None:
        """The token is over: the boards go on without the own place, until another token comes."""
        if self._identity is None:
            return
        self._identify(None)
        self._refuse(ending.refused())

    def end(self, ending: Ending) -> None:
        """Closes with a code and a reason; a client that does not answer in time is cut off."""
        if self._is_ended or self._transport is None:
            return
        figures.ENDINGS.child(ending.name).inc()
        self._is_ended = True
        self._forget()
        self._transport.send_close(ending.close_code, ending.text.encode())  # type: ignore[arg-type]
        # A client that reads nothing would keep its buffers for as long as it likes.
        wait_s = 0.0 if self._is_paused else CLOSE_WITHIN_S
        self._loop.call_later(wait_s, self._cut)

    # The rest is the connection's own.

    def _cut(self) -> None:
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.disconnect(graceful=False)

    def _forget(self) -> None:
        if self in self._shared.connections:
            self._shared.connections.remove(self)
            self._shared.addresses.give_back(self._address, self._places)
        if self._hung is not None:
            self._hung.cancel()
        if self._reader is not None:
            self._reader.cancel()
        for watcher in self._watchers.values():
            self._shared.hub.leave(watcher)
        self._watchers.clear()

    def _on_close(self, frame: picows.WSFrame) -> None:
        assert self._transport is not None
        code: int = frame.get_close_code()  # type: ignore[assignment]  # picows gives and takes ints
        is_empty = frame.payload_size == 0
        if not is_empty and code not in CLOSE_CODES:
            raise Broken(endings.PROTOCOL_ERROR)
        if not self._transport.is_close_frame_sent:
            self._transport.send_close(1000 if is_empty else code)  # type: ignore[arg-type]
        self._is_ended = True
        self._forget()
        self._transport.disconnect()

    def _on_message(self, kind: Kind, message: bytes) -> None:
        if kind is Kind.BINARY:
            self._refuse(invalid("frame", "must be text"))
        elif len(self._inbox) >= INBOX_MAX:
            self._refuse(Refused(Reason.RATE_LIMITED, "Wait for answers before asking on.", retry_after_s=1))
        else:
            self._receive(message)

    def _receive(self, message: bytes | None) -> None:
        self._inbox.append(message)
        if self._reader is None or self._reader.done():
            self._reader = self._loop.create_task(self._read_inbox(), name="websocket messages")

    async def _read_inbox(self) -> None:
        while self._inbox and not self._is_ended:
            message = self._inbox[0]
            try:
                if message is None:
                    await self._watch((Wish(),))
                else:
                    await self._obey(client_frame.parse(message))
            except Refused as e:
                self._refuse(e)
            except Exception:
                log.exception("A WebSocket message failed unexpectedly", extra={"event": "message_failed"})
                self._refuse(Refused(Reason.INTERNAL, "An internal error occurred; it was logged."))
            self._inbox.popleft()

    async def _obey(self, request: Watch | Authorize) -> None:
        if isinstance(request, Watch):
            await self._watch(request.wishes)
            return
        identity = await self._shared.verifier.verify(request.header)
        await self._shared.sessions.check(identity)
        self._identify(identity)

    async def _watch(self, wishes: tuple[Wish, ...]) -> None:
        """Replaces the set: all of it or, where a board cannot be had, nothing of it."""
        known, late = self._watchers, None
        watchers = {wish: known.get(wish) or self._watcher(wish) for wish in wishes}
        added = [watcher for wish, watcher in watchers.items() if wish not in known]
        places = self._places
        self._count(max(1, len(watchers)))
        try:
            for watcher in added:
                late = await self._join(watcher) or late
        except BaseException:
            self._count(places)
            for watcher in added:
                self._shared.hub.leave(watcher)
            raise
        for wish, watcher in known.items():
            if wish not in watchers:
                self._shared.hub.leave(watcher)
        self._watchers = watchers
        self.flush()
        if late is not None:
            self._refuse(late)

    def _count(self, places: int) -> None:
        """Takes so many places of the address's. Raises Refused(RATE_LIMITED) when there are not so many."""
        if self not in self._shared.connections:  # it is over, and has none
            return
        addresses, more = self._shared.addresses, places - self._places
        if more > 0:
            addresses.check(self._address, more)
        addresses.take(self._address, more)
        self._places = places

    async def _join(self, watcher: Watcher) -> Refused | None:
        """Returns the refusal of a board that will be shown once it can be read."""
        try:
            await self._shared.hub.join(watcher)
        except Refused as e:
            if e.reason is not Reason.LEADERBOARD_UNAVAILABLE:
                raise
            if not self._shared.hub.is_watching(watcher):
                self.end(endings.TRY_AGAIN_LATER)
            return e
        return None

    def _watcher(self, wish: Wish) -> _Watcher:
        watcher = _Watcher(self, wish)
        watcher.identity = self._identity
        return watcher

    def _identify(self, identity: Identity | None) -> None:
        self._identity = identity
        for watcher in self._watchers.values():
            watcher.identity = identity
            watcher.offer_me(None)
            if identity is not None:
                self._shared.hub.want_place(watcher)

    def _refuse(self, refused: Refused) -> None:
        self._send(error_body(refused))

    def _send(self, text: bytes) -> None:
        if self._transport is not None and not self._is_ended:
            self._transport.send(picows.WSMsgType.TEXT, text)


_KINDS = {
    picows.WSMsgType.CONTINUATION: Kind.CONTINUATION,
    picows.WSMsgType.TEXT: Kind.TEXT,
    picows.WSMsgType.BINARY: Kind.BINARY,
}


class _Watcher(Watcher):
    """A watcher whose writer is a connection."""

    def __init__(self, connection: Connection, wish: Wish) -> None:
        super().__init__(wish.board, wish.limit, Format.JSON, connection.flush)
        self._connection = connection

    def lose_identity(self, ending: Ending) -> None:
        """Tells the connection, which goes on without."""
        self._connection.lose_identity(ending)
