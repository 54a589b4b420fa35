"""Puts a WebSocket client's frames together to messages, by RFC 6455.

Pure. picows has checked each frame on its own (masks, opcodes, sizes, control frames); this checks what spans frames.
Holds always: what waits for its end is at most MESSAGE_BYTES_MAX.
"""

from enum import Enum

from stream_svc.client_frame import MESSAGE_BYTES_MAX
from stream_svc.endings import NOT_UTF8, PROTOCOL_ERROR, TOO_LARGE, Ending


class Kind(Enum):
    """The kind of a data frame."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2


class Broken(Exception):  # noqa: N818 -- the client's doing, not an error of ours
    """The connection has to end."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.name)
        self.ending = ending


class Assembler:
    """One connection's unfinished message."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._kind: Kind | None = None

    def add(self, kind: Kind, is_last: bool, payload: bytes) -> tuple[Kind, bytes] | None:
        """Returns (TEXT or BINARY, message) when it is complete. Raises Broken; the connection then has to end."""
        if (kind is Kind.CONTINUATION) is (self._kind is None):
            raise Broken(PROTOCOL_ERROR)  # section 5.4: nothing to continue, or a message within a message
        self._size += len(payload)
        if self._size > MESSAGE_BYTES_MAX:
            raise Broken(TOO_LARGE)
        self._kind = self._kind or kind
        self._parts.append(payload)
        if len(self._parts) > MESSAGE_BYTES_MAX:
            raise Broken(TOO_LARGE)  # empty fragments without end
        if not is_last:
            return None
        message, whole_kind = b"".join(self._parts), self._kind
        self._parts, self._size, self._kind = [], 0, None
        if whole_kind is Kind.TEXT:
            try:
                message.decode()
            except UnicodeDecodeError as e:
                raise Broken(NOT_UTF8) from e  # section 8.1
        return whole_kind, message
