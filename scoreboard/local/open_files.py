"""How many files the mesh's processes may have open: a shell's 1,024 would end the gateway at 500 streams."""

from __future__ import annotations

import resource

CONNECTIONS_MAX = 50_000  # of clients, at the gateway
FOR_ITSELF = 500  # files of a process beside its connections
WANTED = 2 * CONNECTIONS_MAX + FOR_ITSELF


def allow_many() -> int:
    """Raise our own bound, which children inherit, as far as we may; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    bound = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < bound:
        resource.setrlimit(resource.RLIMIT_NOFILE, (bound, hard))
    return bound


def connections(bound: int) -> int:
    """Return how many clients the gateway can hold by that bound: each may take a second file, for the service."""
    return max(1, min(CONNECTIONS_MAX, (bound - FOR_ITSELF) // 2))
