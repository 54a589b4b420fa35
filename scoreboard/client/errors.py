"""The one exception of the client, and how a gRPC error is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from scoreboard.v1 import error_reason_pb2

#: A call that ended like this may have been carried out before its answer was lost.
_UNKNOWN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    }
)


class ScoreboardError(Exception):
    """A call that the server turned down, or that nobody answered in time.

    `reason` is a name of scoreboard.v1.ErrorReason without its prefix (empty when nobody got to say one), `message` a
    sentence to act on, `code` the gRPC code. `retry_after_s`: seconds after which a retry helps, None where that is not
    told. `metadata`: the values that the sentence mentions. `is_unknown`: an answer was lost, so that the call may have
    been carried out. `nonce`: of a score whose outcome is unknown; scoring again with it settles that, and counts once.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        code: grpc.StatusCode,
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})
        self.is_unknown = code in _UNKNOWN
        self.nonce = ""

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"


def to_error(error: grpc.RpcError) -> ScoreboardError:
    """Returns what a gRPC error says, with reason and delay from its details (google.rpc.ErrorInfo, RetryInfo).

    For those who call the stubs of scoreboard.v1 themselves.
    """
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    pairs: Iterable[tuple[str, Any]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    trailers = {key: value for key, value in pairs}  # noqa: C416 -- grpc.aio's Metadata only looks like a mapping
    for detail in status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b"")).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    delay_s = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    after = str(trailers.get("retry-after", ""))  # the gateway's own refusals say it in HTTP's header
    if delay_s is None and after.isascii() and after.isdigit():  # others' proxies may give a date
        delay_s = float(after)
    return ScoreboardError(info.reason, error.details() or "", error.code(), delay_s, dict(info.metadata))


def closed() -> ScoreboardError:
    """Returns the error of a call that a closed client was asked for: it was not sent."""
    return ScoreboardError("", "The client is closed.", grpc.StatusCode.FAILED_PRECONDITION)


def by_reason(reason: str, message: str = "", **metadata: str) -> ScoreboardError:
    """Returns the error of a reason that came without one, with the code and phrase that the contract gives it."""
    known = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    value = known.get(f"ERROR_REASON_{reason}", known["ERROR_REASON_INTERNAL"])
    options = value.GetOptions()
    code = grpc.StatusCode[options.Extensions[error_reason_pb2.code]]
    phrase = options.Extensions[error_reason_pb2.phrase]
    return ScoreboardError(value.name.removeprefix("ERROR_REASON_"), message or f"{phrase}.", code, None, metadata)
