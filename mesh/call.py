"""What a servicer method may know of the call it serves; it knows no transport.

`mesh.server` makes it from grpc.aio; any other adapter makes the same.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.identity import Identity


@dataclass(slots=True)
class Call:
    """One call: who asks, with which metadata, until when, and the headers that the answer brings."""

    #: Request metadata by lower-case name; binary (`-bin`) values are left out.
    metadata: Mapping[str, str]
    #: Who calls; None on a public method without a token.
    identity: Identity | None = None
    #: time.monotonic() of the caller's deadline; None without one.
    deadline: float | None = None
    #: Initial metadata of the answer, e.g. `etag`, or `x-http-code` for the gateway (ENVOY.md, section 3).
    answer: dict[str, str] = field(default_factory=dict)

    def remaining_s(self, at_most: float) -> float:
        """Returns the seconds left until the deadline, at most `at_most`, never below 0."""
        if self.deadline is None:
            return at_most
        return max(0.0, min(at_most, self.deadline - time.monotonic()))

    @property
    def caller(self) -> Identity:
        """The identity of a method that requires one."""
        assert self.identity is not None, "the method's access rule lets calls without a token pass"
        return self.identity
