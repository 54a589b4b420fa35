"""The way to the gateway: its address, the connection's options, and which call a request is for."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from google.protobuf.message import Message

from scoreboard.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    leaderboard_pb2,
    leaderboard_pb2_grpc,
    score_pb2,
    score_pb2_grpc,
)

GATEWAY = "127.0.0.1:8080"  # of `scoreboard up`

OPTIONS = (
    # A gateway that was away is found within seconds, not after grpc's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A network that changed under a call or a watch leaves a connection that nobody answers on. Seen with grpcio 1.78:
    # the ping's timeout closes it (60 s by default), grpc.keepalive_timeout_ms alone does not.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


def parse_gateway(text: str) -> tuple[str, bool]:
    """Returns HOST:PORT of a gateway's address, and whether the way there is encrypted. Raises ValueError.

    Without http:// or https:// before it, an address is encrypted unless it is this machine's.
    """
    parts = urlsplit(text if "://" in text else f"//{text}")
    host, port = parts.hostname, parts.port
    if not host or parts.scheme not in ("", "http", "https") or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"{text!r} is no gateway's address: HOST:PORT, http://HOST:PORT or https://HOST[:PORT]")
    is_encrypted = parts.scheme == "https" or (not parts.scheme and not _is_here(host))
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port or (443 if is_encrypted else 80)}", is_encrypted


def calls_of(channel: Any) -> Mapping[type[Message], Any]:
    """Returns the unary calls on a channel of grpc or grpc.aio, by the request that each takes."""
    auth = auth_pb2_grpc.AuthServiceStub(channel)
    scores = score_pb2_grpc.ScoreServiceStub(channel)
    boards = leaderboard_pb2_grpc.LeaderboardServiceStub(channel)
    return {
        auth_pb2.RegisterRequest: auth.Register,
        auth_pb2.GuestRequest: auth.Guest,
        auth_pb2.LoginRequest: auth.Login,
        auth_pb2.RefreshRequest: auth.Refresh,
        auth_pb2.LogoutRequest: auth.Logout,
        auth_pb2.UpdateProfileRequest: auth.UpdateProfile,
        auth_pb2.DeleteAccountRequest: auth.DeleteAccount,
        score_pb2.IssueNonceRequest: scores.IssueNonce,
        score_pb2.UpdateScoreRequest: scores.UpdateScore,
        score_pb2.GetUpdateRequest: scores.GetUpdate,
        leaderboard_pb2.GetLeaderboardRequest: boards.GetLeaderboard,
        leaderboard_pb2.GetRankRequest: boards.GetRank,
        leaderboard_pb2.GetAroundRequest: boards.GetAround,
        leaderboard_pb2.ListBoardsRequest: boards.ListBoards,
    }


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
