"""Decides which address a call counts against.

Pure. X-Forwarded-For is read from the right: the gateway appends what it saw itself, and whatever stands further left
than our own proxies was written by the client. `x-envoy-external-address` is not used: Envoy leaves a client's own
copy of it alone when the client's address is a private one.
"""

import ipaddress
import re

UNKNOWN = "unknown"  # a call past the gateway: all of them count as one
IPV6_PREFIX = 64  # one customer holds at least a /64, and may use each address of it once

_WITH_PORT = re.compile(r"\[([^]]+)\](?::[0-9]+)?|([^:]+):[0-9]+")


def client_address(forwarded_for: str | None, trusted_hops: int = 0) -> str:
    """Returns the client's IPv4 address or IPv6 network; `trusted_hops`: proxies of ours in front of the gateway."""
    hops = (forwarded_for or "").split(",")
    try:
        written = hops[-1 - trusted_hops].strip()
        with_port = _WITH_PORT.fullmatch(written)  # as some proxies have it
        address = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else written)
    except (ValueError, IndexError):
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))
