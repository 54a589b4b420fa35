"""What RFC 6455 asks of a WebSocket server, as bytes that a client sends and what must come back.

Our own list: the usual suite, autobahn-testsuite, runs on Python 2 alone, and wants a server that echoes. The groups
follow its chapters. A case either ends the connection with a code, or leaves it open; then pongs and refusals are told.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

from tests.raw_websocket import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, raw_frame

MESSAGE_BYTES_MAX = 4096
INVALID = "INVALID_ARGUMENT"


@dataclass(frozen=True)
class Closes:
    """The bytes, and the code of the close that must come."""

    data: bytes
    code: int


@dataclass(frozen=True)
class GoesOn:
    """The bytes; the pongs that must come, and the reasons of the refusals, each in order."""

    data: bytes
    pongs: tuple[bytes, ...] = ()
    refusals: tuple[str, ...] = ()


def text(message: str | bytes) -> bytes:
    """Returns a text frame."""
    return raw_frame(FIN | TEXT, message.encode() if isinstance(message, str) else message)


def close(code: int, reason: bytes = b"") -> bytes:
    """Returns a close frame."""
    return raw_frame(FIN | CLOSE, struct.pack(">H", code) + reason)


def in_parts(message: bytes, size: int) -> bytes:
    """Returns a text message in fragments of so many bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    firsts = [TEXT] + [CONTINUATION] * (len(parts) - 1)
    firsts[-1] |= FIN
    return b"".join(map(raw_frame, firsts, parts))


def watch(board: str, pad: int = 0) -> bytes:
    """Returns the message that watches a board, padded with spaces to so many bytes."""
    return json.dumps({"watch": [{"board": board}]}).encode().ljust(pad)


def _longer(first_byte: int, payload: bytes, marker: int) -> bytes:
    """Returns a frame whose length takes more bytes than it needs (section 5.2 forbids that)."""
    size = struct.pack(">H" if marker == 126 else ">Q", len(payload))
    return bytes([first_byte, 0x80 | marker]) + size + bytes(4) + payload


_NOT_UTF8 = {
    "a lone continuation": b"\x80",
    "no byte of any text": b"\xff\xfe",
    "an overlong slash": b"\xc0\xaf",
    "an overlong NUL": b"\xe0\x80\x80",
    "a surrogate": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "half a letter": "ü".encode()[:1],
    "two of three bytes": "€".encode()[:2],
    "three of four bytes": "😀".encode()[:3],
    "ends in the midst": b'{"watch": []} \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed',
}

CASES: dict[str, Closes | GoesOn] = {
    # 1: messages and their sizes
    "1 empty text": GoesOn(text(""), refusals=(INVALID,)),
    "1 empty binary": GoesOn(raw_frame(FIN | BINARY), refusals=(INVALID,)),
    "1 binary": GoesOn(raw_frame(FIN | BINARY, bytes(300)), refusals=(INVALID,)),
    **{f"1 text of {size}": GoesOn(text(watch("daily", size))) for size in (32, 125, 126, 127, 128, 1000, 4095, 4096)},
    "1 text of 4097": Closes(text(watch("daily", 4097)), 1009),
    "1 text of 65536": Closes(text(watch("daily", 65_536)), 1009),
    "1 not masked": Closes(raw_frame(FIN | TEXT, b"{}", masked=False), 1002),
    # 2: pings and pongs
    "2 ping": GoesOn(raw_frame(FIN | PING), pongs=(b"",)),
    "2 ping with bytes": GoesOn(raw_frame(FIN | PING, b"\x00\xff\xfe\x80"), pongs=(b"\x00\xff\xfe\x80",)),
    "2 ping of 125": GoesOn(raw_frame(FIN | PING, b"x" * 125), pongs=(b"x" * 125,)),
    "2 ping of 126": Closes(raw_frame(FIN | PING, b"x" * 126), 1002),
    "2 ten pings": GoesOn(
        b"".join(raw_frame(FIN | PING, b"%d" % n) for n in range(10)), pongs=tuple(b"%d" % n for n in range(10))
    ),
    "2 pong unasked": GoesOn(raw_frame(FIN | PONG)),
    "2 pong unasked, then ping": GoesOn(raw_frame(FIN | PONG, b"a") + raw_frame(FIN | PING, b"b"), pongs=(b"b",)),
    "2 pong of 126": Closes(raw_frame(FIN | PONG, b"x" * 126), 1002),
    # 3: reserved bits, of which no extension was agreed on
    **{
        f"3 bits {bits:#x}": Closes(raw_frame(FIN | bits | TEXT, b"{}"), 1002)
        for bits in (RSV1, RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV2 | RSV3, RSV1 | RSV2 | RSV3)
    },
    "3 bits of a ping": Closes(raw_frame(FIN | RSV1 | PING), 1002),
    "3 bits of a close": Closes(raw_frame(FIN | RSV1 | CLOSE), 1002),
    # 4: opcodes that nobody has given a meaning
    **{f"4 opcode {code:#x}": Closes(raw_frame(FIN | code, b"{}"), 1002) for code in (*range(3, 8), *range(0xB, 0x10))},
    "4 opcode 0x3, empty": Closes(raw_frame(FIN | 0x3), 1002),
    # 5: fragments
    "5 ping in two": Closes(raw_frame(PING, b"a") + raw_frame(FIN | CONTINUATION, b"b"), 1002),
    "5 pong in two": Closes(raw_frame(PONG, b"a") + raw_frame(FIN | CONTINUATION, b"b"), 1002),
    "5 close in two": Closes(raw_frame(CLOSE, b"\x03\xe8"), 1002),
    "5 text in two": GoesOn(in_parts(watch("daily"), 20)),
    "5 text byte by byte": GoesOn(in_parts(watch("daily"), 1)),
    "5 text of 4096 byte by byte": GoesOn(in_parts(watch("daily", 4096), 1)),
    "5 binary in two": GoesOn(raw_frame(BINARY, b"a") + raw_frame(FIN | CONTINUATION, b"b"), refusals=(INVALID,)),
    "5 ping in between": GoesOn(
        raw_frame(TEXT, watch("daily")[:9])
        + raw_frame(FIN | PING, b"hi")
        + raw_frame(CONTINUATION)
        + raw_frame(FIN | CONTINUATION, watch("daily")[9:]),
        pongs=(b"hi",),
    ),
    "5 pong in between": GoesOn(
        raw_frame(TEXT, watch("daily")[:9]) + raw_frame(FIN | PONG) + raw_frame(FIN | CONTINUATION, watch("daily")[9:])
    ),
    "5 empty fragments": GoesOn(
        raw_frame(TEXT) + raw_frame(CONTINUATION) + raw_frame(FIN | CONTINUATION), refusals=(INVALID,)
    ),
    "5 nothing to continue": Closes(raw_frame(FIN | CONTINUATION, b"{}"), 1002),
    "5 nothing to continue, unfinished": Closes(raw_frame(CONTINUATION, b"{}"), 1002),
    "5 continued after its end": Closes(in_parts(b"{} ", 2) + raw_frame(FIN | CONTINUATION, b"{}"), 1002),
    "5 text within a text": Closes(raw_frame(TEXT, b"{") + raw_frame(FIN | TEXT, b"}"), 1002),
    "5 binary within a text": Closes(raw_frame(TEXT, b"{") + raw_frame(FIN | BINARY, b"}"), 1002),
    "5 closed within a text": Closes(raw_frame(TEXT, b"{") + close(1000), 1000),
    # 6: UTF-8
    "6 letters of all sizes": GoesOn(text('{"watch": [{"board": "aü€😀"}]}'), refusals=("UNKNOWN_BOARD",)),
    "6 letters split by fragments": GoesOn(
        in_parts('{"watch": [{"board": "aü€😀"}]}'.encode(), 1), refusals=("UNKNOWN_BOARD",)
    ),
    "6 NUL": GoesOn(text("\x00"), refusals=(INVALID,)),
    "6 the last letter of Unicode": GoesOn(text("\U0010ffff"), refusals=(INVALID,)),
    "6 what is no letter": GoesOn(text("\ufffe\uffff"), refusals=(INVALID,)),
    "6 binary may be anything": GoesOn(raw_frame(FIN | BINARY, b"\xff\xfe"), refusals=(INVALID,)),
    **{f"6 {name}": Closes(text(data), 1007) for name, data in _NOT_UTF8.items()},
    "6 broken across fragments": Closes(raw_frame(TEXT, b"\xe2") + raw_frame(FIN | CONTINUATION, b"\x28\xa1"), 1007),
    # 7: the closing handshake
    "7 empty": Closes(raw_frame(FIN | CLOSE), 1000),
    **{
        f"7 code {code}": Closes(close(code), code)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
    },
    **{
        f"7 code {code}, which is none": Closes(close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    "7 with a reason": Closes(close(3001, b"bye"), 3001),
    "7 with the longest reason": Closes(close(1000, b"x" * 123), 1000),
    "7 with too long a reason": Closes(close(1000, b"x" * 124), 1002),
    "7 half a code": Closes(raw_frame(FIN | CLOSE, b"\x03"), 1002),
    "7 reason not UTF-8": Closes(close(1000, b"\xff"), 1007),
    "7 reason of half a letter": Closes(close(1000, "€".encode()[:2]), 1007),
    "7 text after it": Closes(close(1000) + text("{}"), 1000),
    "7 ping after it": Closes(close(1000) + raw_frame(FIN | PING), 1000),
    # Two closes at once are no case: picows, which reads a frame ahead, answers them with 1002.
    # 9: limits
    "9 a length of 2^40": Closes(raw_frame(FIN | TEXT, length=2**40), 1009),
    "9 the longest length": Closes(raw_frame(FIN | TEXT, length=2**63 - 1), 1009),
    "9 fragments that are too much": Closes(raw_frame(TEXT, b"x" * 4096) + raw_frame(FIN | CONTINUATION, b"x"), 1009),
    "9 empty fragments without end": Closes(raw_frame(TEXT) + 5000 * raw_frame(CONTINUATION), 1009),
    "9 a length with its sign bit": Closes(bytes([FIN | TEXT, 0xFF]) + b"\xff" * 8, 1002),
    "9 a length of two bytes for one": Closes(_longer(FIN | TEXT, b"{}", 126), 1002),
    "9 a length of eight bytes for one": Closes(_longer(FIN | TEXT, b"{}", 127), 1002),
}
