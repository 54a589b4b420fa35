"""Plain GETs, which the gateway lets through to a service beside its calls."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a plain GET is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


#: Answers a plain GET, given the query and the headers. Raises Refused.
Page = Callable[[str, Mapping[str, str]], Awaitable[HttpAnswer]]
