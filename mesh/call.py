"""What a servicer method may know of the call it serves; it knows no transport.

The transports make it: mesh.grpc_aio and mesh.http1.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mesh.identity import Identity

#: Writes the frames that it is given to take; see Call.push.
Push = Callable[[Callable[[], Iterable[bytes]]], bool]


def push_nothing(take: Callable[[], Iterable[bytes]]) -> bool:
    """Is the `push` of a call that cannot be pushed to."""
    return False


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
    #: Writes what `take` returns (serialised) behind what was yielded, without waking the stream's generator; True:
    #: done. False: `take` was not asked, and the generator has to yield. So it is before its first frame, while the
    #: caller does not read, when the call is over, and on a transport that cannot.
    push: Push = push_nothing

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
