"""The bytes of frames: as protobuf for gRPC, as JSON for WebSocket (the JSON that the gateway's transcoder prints).

Pure. Holds always: a frame is serialised once for each (snapshot, kind, limit, format) and the same bytes go to
everyone; a watcher's own place is appended to them, never serialised with them.
"""

from enum import StrEnum

import orjson

from board.read import Row
from scoreboard.v1 import common_pb2, stream_pb2
from stream_svc.snapshot import Me, Rows, Snapshot, change


class Format(StrEnum):
    """How a frame is written. A StrEnum, whose hash is C's: it is part of the key that each push looks up."""

    PROTO = "proto"
    JSON = "json"


def whole(snapshot: Snapshot, limit: int, format_: Format, *, closed: bool = False) -> bytes:
    """Returns the first `limit` rows; `closed`: as the last frame of a period that ended."""
    key = ("whole", limit, format_, closed)
    frame = snapshot.frames.get(key)
    if frame is None:
        update = _update(snapshot, snapshot.top(limit))
        if closed:
            update.closed = True
        frame = snapshot.frames[key] = _write(update, format_)
    return frame


def delta(snapshot: Snapshot, limit: int, format_: Format, base: Rows, base_version: int) -> bytes:
    """Returns what turns `base`, which was shown as `base_version`, into the first `limit` rows."""
    key = ("delta", limit, format_, base_version)
    frame = snapshot.frames.get(key)
    if frame is None:
        rows, left = change(base, snapshot.top(limit))
        update = _update(snapshot, rows)
        update.delta = True
        update.base_version = base_version
        update.left.extend(left)
        frame = snapshot.frames[key] = _write(update, format_)
    return frame


def heartbeat(snapshot: Snapshot, format_: Format) -> bytes:
    """Returns the frame without rows that says: still here, and this is the version."""
    key = ("heartbeat", format_)
    frame = snapshot.frames.get(key)
    if frame is None:
        update = _update(snapshot, ())
        update.heartbeat = True
        frame = snapshot.frames[key] = _write(update, format_)
    return frame


def with_me(frame: bytes, me: Me | None, format_: Format) -> bytes:
    """Returns a frame with a watcher's own place added."""
    if me is None:
        return frame
    if format_ is Format.JSON:
        return frame[:-1] + b',"me":' + orjson.dumps({"rank": me.rank, "score": me.score}) + b"}"
    # Two protobuf messages, one after the other, are the message with the fields of both (encoding: "Last One Wins").
    return frame + stream_pb2.LeaderboardUpdate(me=stream_pb2.Me(rank=me.rank, score=me.score)).SerializeToString()


def _update(snapshot: Snapshot, rows: Rows) -> stream_pb2.LeaderboardUpdate:
    return stream_pb2.LeaderboardUpdate(
        leaderboard=[_row(row) for row in rows],
        version=snapshot.version,
        board=snapshot.board,
        period=snapshot.period,
    )


def _row(row: Row) -> common_pb2.Row:
    return common_pb2.Row(rank=row.rank, user_id=row.user_id, username=row.username, score=row.score)


def _write(update: stream_pb2.LeaderboardUpdate, format_: Format) -> bytes:
    return update.SerializeToString() if format_ is Format.PROTO else orjson.dumps(as_json(update))


def as_json(update: stream_pb2.LeaderboardUpdate) -> dict[str, object]:
    """Returns an update as the transcoder prints it: empty primitives and lists are there, unset optionals are not."""
    shown: dict[str, object] = {
        "leaderboard": [
            {"rank": row.rank, "userId": row.user_id, "username": row.username, "score": int(row.score)}
            for row in update.leaderboard
        ],
        "version": int(update.version),
        "board": update.board,
        "period": update.period,
    }
    if update.HasField("delta"):
        shown["delta"] = update.delta
    if update.HasField("base_version"):
        shown["baseVersion"] = int(update.base_version)
    shown["left"] = list(update.left)
    if update.HasField("heartbeat"):
        shown["heartbeat"] = update.heartbeat
    if update.HasField("closed"):
        shown["closed"] = update.closed
    return shown
