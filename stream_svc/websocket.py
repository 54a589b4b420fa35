"""The WebSocket at /ws/leaderboard: who gets in, and how all are told to go.

What a client may say, and what it is sent, is `connection`; which requests may become a WebSocket is `handshake`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import picows

from mesh.address import client_address
from mesh.reasons import Reason
from mesh.refusal import Refused
from stream_svc import endings, figures
from stream_svc.client_frame import MESSAGE_BYTES_MAX
from stream_svc.connection import Connection, Shared
from stream_svc.handshake import error_body, refusal_of

PING_IDLE_S = 20.0  # finds clients that are gone without a word
PONG_WITHIN_S = 20.0
READ_BUFFER_BYTES = 2048  # of each socket; picows lets it grow with what a client says, and most say nothing


@dataclass(slots=True)
class Door:
    """Lets clients in, as long as there is room."""

    shared: Shared
    origins: frozenset[str] = frozenset()  # whose pages may connect, beside the gateway's own
    trusted_hops: int = 0

    def enter(self, request: picows.WSUpgradeRequest) -> picows.WSListener | picows.WSUpgradeResponseWithListener:
        """Returns a connection for a request that may become a WebSocket, or the answer that says why not."""
        refusal = refusal_of(request.path.decode(errors="replace"), request.headers, self.origins)
        if refusal is None:
            address = client_address(request.headers.get("x-forwarded-for"), self.trusted_hops)
            try:
                self.shared.hub.check_room()
                self.shared.addresses.check(address)
                return Connection(self.shared, address)
            except Refused as e:
                refusal = 503 if e.reason is Reason.SERVICE_AWAY else 429, e, {"Retry-After": "1"}
        status, refused, headers = refusal
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **headers}
        response = picows.WSUpgradeResponse.create_error_response(status, error_body(refused), headers)
        return picows.WSUpgradeResponseWithListener(response, None)

    def drain(self) -> None:
        """Ends every connection, with the advice to reconnect."""
        for connection in tuple(self.shared.connections):
            connection.end(endings.RESTART)


async def listen(host: str, port: int, door: Door) -> asyncio.Server:
    """Returns a server that listens. Raises OSError when the port cannot be had."""
    figures.WEBSOCKETS.read(lambda: len(door.shared.connections))
    # Whatever a client does wrong is an error to picows; to us it is a client.
    logging.getLogger("picows").setLevel(logging.CRITICAL)
    return await picows.ws_create_server(
        door.enter,
        host,
        port,
        enable_auto_pong=False,  # it looks at no reserved bits
        enable_auto_ping=True,
        auto_ping_idle_timeout=PING_IDLE_S,
        auto_ping_reply_timeout=PONG_WITHIN_S,
        max_frame_size=MESSAGE_BYTES_MAX,
        read_buffer_init_size=READ_BUFFER_BYTES,
    )
