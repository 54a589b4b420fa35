"""The one way to say no: a reason, a sentence that a person can act on, and what a machine needs of it.

Rules raise `Refused`; the transports turn it into a gRPC status with google.rpc.ErrorInfo and RetryInfo.
Holds always: every value that the sentence mentions is in the metadata (AIP-193), and the wire's reasons are `Reason`.
"""

import math

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from mesh.reasons import CODES, HTTP_STATUS, PHRASES, Reason

DOMAIN = "scoreboard"


class Refused(Exception):  # noqa: N818 -- a refusal is an answer, not an error of ours
    """A call, or one item of a batch, is turned down.

    `retry_after_s` (seconds) is set where a retry helps after a while; `metadata` values become strings.
    """

    def __init__(self, reason: Reason, message: str, *, retry_after_s: float | None = None, **metadata: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def to_status(refused: Refused) -> status_pb2.Status:
    """Returns the google.rpc.Status of a refusal: ErrorInfo and, where a retry helps, RetryInfo in whole seconds."""
    details = [_any(error_details_pb2.ErrorInfo(reason=refused.reason, domain=DOMAIN, metadata=refused.metadata))]
    seconds = retry_after_s(refused)
    if seconds is not None:
        details.append(_any(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds))))
    code = CODES[refused.reason].value[0]
    return status_pb2.Status(code=code, message=refused.message, details=details)


def to_json(refused: Refused) -> tuple[int, dict[str, str], dict[str, object]]:
    """Returns the HTTP status, the headers and the JSON error body of a refusal, as the gateway makes them."""
    seconds = retry_after_s(refused)
    headers = {} if seconds is None else {"retry-after": str(seconds)}
    words = {"error": PHRASES[refused.reason], "message": refused.message, "reason": refused.reason}
    return HTTP_STATUS[refused.reason], headers, {"success": False, **words}


def retry_after_s(refused: Refused) -> int | None:
    """Returns the whole seconds after which a retry helps, None where it does not."""
    if refused.retry_after_s is None:
        return None
    # Rounded up, at least 1: HTTP's Retry-After is made from it and knows whole seconds only (RFC 9110, 10.2.3).
    return max(1, math.ceil(refused.retry_after_s))


def invalid(field: str, rule: str) -> Refused:
    """Returns the refusal of a field that breaks its rule: `invalid("limit", "must be 1 to 100")`."""
    return Refused(Reason.INVALID_ARGUMENT, f"{field} {rule}.", field=field)


def _any(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
