"""Renders Envoy's configuration from the one template, for a local mesh as for the tests."""

from __future__ import annotations

import base64
import ipaddress
import json
import math
from collections.abc import Mapping
from pathlib import Path
from string import Template

from scoreboard.local.local_replies import lua_sentences, mappers

FOLDER = Path(__file__).parent.parent.parent / "envoy"
SHIELD_FACTOR = 6  # looser than the exact window behind it, which counts retries as one
LOGIN_BURST_MINUTES = 3
TOKENS_MAX = 2**32 - 1  # Envoy's buckets; whoever asks for more wants no limit

_LOCALHOST = "127.0.0.1"


def render(
    ports: Mapping[str, int],
    updates_per_minute: int,
    logins_per_minute: int,
    *,
    host: str = _LOCALHOST,
    hosts: Mapping[str, str] | None = None,
    issuer: str | None = None,
    audience: str = "scoreboard",
    origins: tuple[str, ...] | None = None,
    trusted_hops: int = 0,
) -> str:
    """Returns the configuration as text.

    ports: of `gateway`, `envoy-admin`, `auth_svc`, `auth_svc-http`, `score_svc`, `leaderboard_svc`, `stream_svc` and
    `stream_svc-http`; hosts: of the services, 127.0.0.1 by default. The two rates are a user's and an address's.
    issuer: of tokens, by default the gateway's own address. origins: whose pages may call, by default its own.
    trusted_hops: proxies in front whose X-Forwarded-For is believed.
    """
    own = f"http://{host}:{ports['gateway']}"
    at = {name: (hosts or {}).get(f"{name}_svc", _LOCALHOST) for name in ("auth", "score", "leaderboard", "stream")}
    allowed = (own, own.replace(_LOCALHOST, "localhost")) if origins is None else origins
    reasons, errors = ((FOLDER / name).read_text() for name in ("reasons.lua", "errors.lua"))
    values: dict[str, object] = {
        "host": host,
        "port": ports["gateway"],
        "admin_host": _LOCALHOST,
        "admin_port": ports["envoy-admin"],
        "trusted_hops": trusted_hops,
        "lua": "\n".join((reasons, lua_sentences(), errors)),
        "descriptors": base64.b64encode((FOLDER / "scoreboard.binpb").read_bytes()).decode(),
        "issuer": issuer or own,
        "audience": audience,
        "jwks_url": f"http://{at['auth']}:{ports['auth_svc-http']}/.well-known/jwks.json",
        "origins": [{"exact": origin} for origin in allowed],
        "local_replies": mappers(
            login_wait_s=math.ceil(60 / logins_per_minute),
            update_wait_s=math.ceil(60 / (SHIELD_FACTOR * updates_per_minute)),
        ),
        "shield_tokens": min(SHIELD_FACTOR * updates_per_minute, TOKENS_MAX),
        "login_burst": min(LOGIN_BURST_MINUTES * logins_per_minute, TOKENS_MAX),
        "logins_per_minute": min(logins_per_minute, TOKENS_MAX),
        "cluster_type": "STATIC" if all(map(_is_address, at.values())) else "STRICT_DNS",
        "auth_http_port": ports["auth_svc-http"],
        "stream_http_port": ports["stream_svc-http"],
    }
    for name, address in at.items():
        values |= {f"{name}_host": address, f"{name}_port": ports[f"{name}_svc"]}
    # JSON is YAML: a value of any kind stands in its place without a thought about quoting.
    quoted = {name: json.dumps(value) for name, value in values.items()}
    return Template((FOLDER / "envoy.yaml.tmpl").read_text()).substitute(quoted)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
