"""Renders the configuration of the gateway before the regions (envoy/regions.yaml.tmpl) from a file that names them.

A call goes to the region that its token names, else to the one that the header `x-region` asks for, else by the
client's address (envoy/regions.lua), else to the default.
"""

from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, model_validator

from mesh.settings import REGION, Gateway
from scoreboard.local.gateway import CHECK, FOLDER, STREAM_BYTES, endpoints, fill, is_address, transport_socket
from scoreboard.local.local_replies import mappers
from scoreboard.local.open_files import CONNECTIONS_MAX
from scoreboard.local.trouble import Trouble

JsonObject = dict[str, Any]

# What waits here for a slow reader, whom the region's gateway must notice: a connection's room for all its streams.
CONNECTION_BYTES = 16 * STREAM_BYTES

HEADER = "x-scoreboard-region"  # what envoy/regions.lua has chosen; removed when a client sends it
_CURE = "docs/regions.md shows such a file."


class RoutedRegion(BaseModel):
    """A region: where its gateway is, and the addresses whose clients it gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=REGION)
    gateway: Gateway
    addresses: tuple[IPvAnyNetwork, ...] = ()


class Regions(BaseModel):
    """All regions, and which of them gets the clients that none claims."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str
    region: tuple[RoutedRegion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        names = [each.name for each in self.region]
        if len(set(names)) < len(names):
            raise ValueError("each region has a name of its own")
        if self.default not in names:
            raise ValueError(f"default names none of the regions ({', '.join(names)})")
        networks = [network for each in self.region for network in each.addresses]
        if any(one.version == other.version and one.overlaps(other) for one, other in combinations(networks, 2)):
            raise ValueError("each address belongs to one region: ranges may not overlap")
        return self


def read(file: Path) -> Regions:
    """Returns what the file says. Raises Trouble."""
    try:
        return Regions.model_validate(tomllib.loads(file.read_text()))
    except OSError as e:
        raise Trouble(f"{file} cannot be read: {e.strerror}", _CURE) from e
    except tomllib.TOMLDecodeError as e:
        raise Trouble(f"{file} is no TOML: {e}", _CURE) from e
    except ValidationError as e:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in e.errors())
        raise Trouble(f"{file}: {said}", _CURE) from e


def render(
    regions: Regions,
    port: int,
    admin_port: int,
    *,
    host: str = "127.0.0.1",
    trusted_hops: int = 0,
    tls: Path | None = None,
) -> str:
    """Returns Envoy's configuration. trusted_hops, tls: as in scoreboard.local.gateway.render."""
    values = {
        "host": host,
        "port": port,
        "admin_port": admin_port,
        "trusted_hops": trusted_hops,
        "connections_max": CONNECTIONS_MAX,
        "transport_socket": None if tls is None else transport_socket(tls),
        "header": HEADER,
        "lua": (FOLDER / "regions.lua").read_text(),
        "local_replies": mappers(login_wait_s=1, update_wait_s=1),
        "by_address": {each.name: _by_address(each) for each in regions.region if each.addresses},
        "routes": _routes(regions),
        "clusters": [_cluster(each) for each in regions.region],
    }
    return fill("regions.yaml.tmpl", values)


def _by_address(region: RoutedRegion) -> JsonObject:
    ranges = [{"address_prefix": str(each.network_address), "prefix_len": each.prefixlen} for each in region.addresses]
    return {"permissions": [{"any": True}], "principals": [{"remote_ip": each} for each in ranges]}


def _routes(regions: Regions) -> list[JsonObject]:
    named = [_to(each.name, {"headers": [_header(each.name)]}) for each in regions.region]
    return [*named, _to(regions.default, {})]


def _header(region: str) -> JsonObject:
    return {"name": HEADER, "string_match": {"exact": region}}


def _to(region: str, match: JsonObject) -> JsonObject:
    # The region's gateway bounds each call by its kind.
    return {"match": {"prefix": "/", **match}, "route": {"cluster": region, "timeout": "0s", "idle_timeout": "60s"}}


def _cluster(region: RoutedRegion) -> JsonObject:
    parts = urlsplit(region.gateway)
    host = parts.hostname or ""
    options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    # As the client came: gRPC needs HTTP/2, a WebSocket HTTP/1.1.
    windows = {"initial_stream_window_size": STREAM_BYTES, "initial_connection_window_size": CONNECTION_BYTES}
    same: JsonObject = {"http_protocol_options": {}, "http2_protocol_options": windows}
    cluster: JsonObject = {
        "name": region.name,
        "type": "STATIC" if is_address(host) else "STRICT_DNS",
        "connect_timeout": "1s",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        # Across the world, unlike a service of the same cluster: a lost packet or two is no dead region.
        "health_checks": [
            {**CHECK, "timeout": "3s", "interval": "2s", "unhealthy_threshold": 3, "tcp_health_check": {}}
        ],
        "dns_lookup_family": "V4_PREFERRED",
        "per_connection_buffer_limit_bytes": CONNECTION_BYTES,
        "circuit_breakers": {
            "thresholds": [{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "use_downstream_protocol_config": same,
            }
        },
        "load_assignment": {
            "cluster_name": region.name,
            "endpoints": endpoints(host, parts.port),
        },
    }
    if parts.scheme == "https":
        cluster["transport_socket"] = _to_tls(host)
    return cluster


def _to_tls(host: str) -> JsonObject:
    trusted = {"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}}
    names = [{"san_type": "DNS", "matcher": {"exact": host}}]
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": host,
        "common_tls_context": {"validation_context": {**trusted, "match_typed_subject_alt_names": names}},
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
