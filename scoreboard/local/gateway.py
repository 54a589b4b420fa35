"""Renders Envoy's configuration from the one template, for a local mesh as for the tests."""

from __future__ import annotations

import base64
import ipaddress
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from string import Template

from scoreboard.local.local_replies import lua_sentences, mappers
from scoreboard.local.nginx import ALIVE
from scoreboard.local.open_files import CONNECTIONS_MAX
from scoreboard.local.telemetry import Traces

FOLDER = Path(__file__).parent.parent.parent / "envoy"
SHIELD_FACTOR = 6  # looser than the exact window behind it, which counts retries as one
LOGIN_BURST_MINUTES = 3
RENEWALS_FACTOR = 50  # of the logins: players renew their tokens every ten minutes, many behind one address
STREAM_BYTES = 64 * 1024  # that wait in the gateway for a slow reader
TOKENS_MAX = 2**32 - 1  # Envoy's buckets; whoever asks for more wants no limit

_LOCALHOST = "127.0.0.1"
#: How the gateway looks whether a service lives; a drain lasts for two looks.
CHECK: dict[str, object] = {
    "timeout": "1s",
    "interval": "0.5s",
    "no_traffic_interval": "0.5s",
    "unhealthy_interval": "0.25s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
}


class Hop(StrEnum):
    """How calls go from the gateway to a service (docs/decisions/0005-hop.md)."""

    HTTP1 = "http1"  # to mesh.http1
    GRPC = "grpc"  # over HTTP/2 to grpc.aio, as from any other caller

    def port_of(self, service: str) -> str:
        """The name of the service's port."""
        return f"{service}-gateway" if self is Hop.HTTP1 else service

    @property
    def health_check(self) -> dict[str, object]:
        """What says that a service lives."""
        return {"http_health_check": {"path": "/livez"}} if self is Hop.HTTP1 else {"grpc_health_check": {}}

    def protocol(self, **http2: int) -> dict[str, object]:
        """Envoy's HttpProtocolOptions. http2: options of Http2ProtocolOptions, where it is that."""
        http1 = {"http_protocol_options": {"enable_trailers": True}}
        config = http1 if self is Hop.HTTP1 else {"http2_protocol_options": http2}
        idle = {"common_http_protocol_options": {"idle_timeout": "60s"}} if self is Hop.HTTP1 else {}
        type_url = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        options = {"@type": type_url, "explicit_http_config": config, **idle}
        return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}


def render(
    ports: Mapping[str, int],
    updates_per_minute: int,
    logins_per_minute: int,
    *,
    hop: Hop = Hop.HTTP1,
    host: str = _LOCALHOST,
    hosts: Mapping[str, str] | None = None,
    public: str | None = None,
    issuer: str | None = None,
    audience: str = "scoreboard",
    origins: tuple[str, ...] = (),
    trusted_hops: int = 0,
    connections_max: int = CONNECTIONS_MAX,
    tls: Path | None = None,
    traces: Traces | None = None,
    access_log_percent: int = 100,
) -> str:
    """Returns the configuration as text.

    ports: of `gateway`, `envoy-admin`, `auth_svc-http`, `stream_svc-http`, `leaderboard_svc-gateway`, and of the four
    services the one that the hop goes to (`score_svc-gateway` or `score_svc`); of `nginx`, where there is one. hosts:
    of the services and of `nginx`, 127.0.0.1 by default. The two rates are a user's and an address's.
    public: the gateway's URL for clients, by default its own address. issuer: of tokens, by default `public`.
    origins: whose pages may call, beside its own. trusted_hops: proxies in front whose X-Forwarded-For is believed.
    connections_max: of clients. tls: the file that names the gateway's certificate (k8s/overlays/prod/edge-tls.yaml).
    traces: where spans go; None: none are made. access_log_percent: of the requests below status 400; of others all.
    """
    own = public or f"http://{host}:{ports['gateway']}"
    allowed = (own, own.replace(_LOCALHOST, "localhost"), *origins)
    values: dict[str, object] = {
        "host": host,
        "port": ports["gateway"],
        "admin_host": _LOCALHOST,
        "admin_port": ports["envoy-admin"],
        "trusted_hops": trusted_hops,
        "connections_max": connections_max,
        "issuer": issuer or own,
        "audience": audience,
        "transport_socket": None if tls is None else transport_socket(tls),
        "origins": [{"exact": origin} for origin in allowed],
        **_contract(),
        **_rates(updates_per_minute, logins_per_minute),
        **_services(ports, hosts or {}, hop),
        "tracing": None if traces is None else traces.envoy(),
        "access_log_percent": access_log_percent,
    }
    text = fill("envoy.yaml.tmpl", values)
    # The list of clusters is the file's end.
    return text if traces is None else f"{text}  - {json.dumps(_collector(traces))}\n"


def fill(template: str, values: Mapping[str, object]) -> str:
    """Returns a template of FOLDER with these values in place of its names."""
    # JSON is YAML: a value of any kind stands in its place without a thought about quoting.
    quoted = {name: json.dumps(value) for name, value in values.items()}
    return Template((FOLDER / template).read_text()).substitute(quoted)


def _contract() -> dict[str, object]:
    """What the gateway is told of the services' messages and errors."""
    reasons, errors = ((FOLDER / name).read_text() for name in ("reasons.lua", "errors.lua"))
    return {
        "lua": "\n".join((reasons, lua_sentences(), errors)),
        "descriptors": base64.b64encode((FOLDER / "scoreboard.binpb").read_bytes()).decode(),
    }


def _rates(updates_per_minute: int, logins_per_minute: int) -> dict[str, object]:
    return {
        "local_replies": mappers(
            login_wait_s=math.ceil(60 / logins_per_minute),
            update_wait_s=math.ceil(60 / (SHIELD_FACTOR * updates_per_minute)),
        ),
        "shield_tokens": min(SHIELD_FACTOR * updates_per_minute, TOKENS_MAX),
        "login_burst": min(LOGIN_BURST_MINUTES * logins_per_minute, TOKENS_MAX),
        "renewals": min(RENEWALS_FACTOR * logins_per_minute, TOKENS_MAX),
        "logins_per_minute": min(logins_per_minute, TOKENS_MAX),
    }


def _services(ports: Mapping[str, int], hosts: Mapping[str, str], hop: Hop) -> dict[str, object]:
    """Where the services are, how calls go to them, and how the gateway looks whether they live."""
    at = {name: hosts.get(f"{name}_svc", _LOCALHOST) for name in ("auth", "score", "leaderboard", "stream")}
    return {
        **{f"{name}_host": address for name, address in at.items()},
        **{f"{name}_port": ports[hop.port_of(f"{name}_svc")] for name in at},
        "leaderboard_http_port": ports["leaderboard_svc-gateway"],
        "auth_http_port": ports["auth_svc-http"],
        "stream_http_port": ports["stream_svc-http"],
        "jwks_url": f"http://{at['auth']}:{ports['auth_svc-http']}/.well-known/jwks.json",
        "cluster_type": "STATIC" if all(map(is_address, (*at.values(), *hosts.values()))) else "STRICT_DNS",
        "liveness": _liveness(hop),
        "liveness_http": _liveness(Hop.HTTP1),
        "liveness_port": [{**CHECK, "tcp_health_check": {}}],
        "liveness_page": [{**CHECK, "http_health_check": {"path": ALIVE, "method": "HEAD"}}],
        "page_endpoints": endpoints(hosts.get("nginx", _LOCALHOST), ports.get("nginx")),
        "protocol": hop.protocol(),
        "protocol_http": Hop.HTTP1.protocol(),
        # What waits for a slow client: a connection that many share has room for all its streams.
        "stream_protocol": hop.protocol(
            max_concurrent_streams=100,
            initial_stream_window_size=STREAM_BYTES,
            initial_connection_window_size=128 * STREAM_BYTES,
        ),
        "stream_bytes": STREAM_BYTES,
    }


def _collector(traces: Traces) -> dict[str, object]:
    return {
        "name": "traces",
        "type": "STATIC" if is_address(traces.host) else "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": Hop.GRPC.protocol(),
        "load_assignment": {"cluster_name": "traces", "endpoints": endpoints(traces.host, traces.port)},
    }


def _liveness(hop: Hop) -> list[dict[str, object]]:
    return [{**CHECK, **hop.health_check}]


def transport_socket(certificate: Path) -> dict[str, object]:
    """Returns the listener's socket for TLS. certificate: the file that names it, in Envoy's form."""
    # By a file that Envoy watches: a certificate that was renewed is taken without a restart.
    secret = {
        "name": "edge",
        "sds_config": {"path_config_source": {"path": str(certificate)}, "resource_api_version": "V3"},
    }
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [secret],
        },
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def endpoints(host: str, port: int | None) -> list[dict[str, object]]:
    """Returns the one endpoint of a cluster; none without a port."""
    if port is None:
        return []
    address = {"socket_address": {"address": host, "port_value": port}}
    return [{"lb_endpoints": [{"endpoint": {"address": address}}]}]


def is_address(host: str) -> bool:
    """Whether it is an IP address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
