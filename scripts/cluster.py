"""Writes the files of k8s/ that are made from others: nginx.conf, Redis' accounts, the alerts, and each overlay's
envoy.yaml by the renderer of the local mesh.

`make cluster` after a change of what they are made from, of an overlay's settings.env too. The gateway of an overlay
with edge-tls.yaml ends TLS itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from scoreboard.local import accounts, gateway, nginx, region_gateway, telemetry

TREE = Path(__file__).resolve().parent.parent
K8S = TREE / "k8s"
FRONT = K8S / "overlays" / "region" / "front"
EDGE_PORT, ENVOY_ADMIN_PORT, PAGE_PORT = 8080, 9901, 8107
#: As the services' files in k8s/base have them.
PORTS: Mapping[str, int] = {
    "gateway": EDGE_PORT,
    "envoy-admin": ENVOY_ADMIN_PORT,
    "nginx": PAGE_PORT,
    "auth_svc-gateway": 8111,
    "auth_svc-http": 8121,
    "score_svc-gateway": 8112,
    "leaderboard_svc-gateway": 8113,
    "stream_svc-gateway": 8114,
    "stream_svc-http": 8124,
}
HOSTS: Mapping[str, str] = {
    "auth_svc": "auth-svc",
    "score_svc": "score-svc",
    "leaderboard_svc": "leaderboard-svc",
    "stream_svc": "stream-svc",
    "nginx": "page",
}
IMAGE = Path("/app")  # where the image has the tree
CERTIFICATE = Path("/etc/envoy/edge-tls.yaml")


def overlays() -> list[Path]:
    """List the folders that can be applied."""
    return sorted(file.parent for file in K8S.rglob("settings.env"))


def settings(overlay: Path) -> dict[str, str]:
    """Read an overlay's settings.env."""
    lines = (overlay / "settings.env").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def envoy_yaml(overlay: Path) -> str:
    """Render the gateway's file of an overlay."""
    values = settings(overlay)
    text = gateway.render(
        PORTS,
        int(values["SCOREBOARD_UPDATES_PER_MINUTE"]),
        int(values["SCOREBOARD_LOGINS_PER_MINUTE"]),
        host="0.0.0.0",  # noqa: S104 -- in its pod
        hosts=HOSTS,
        public=values["SCOREBOARD_ISSUER"],
        origins=tuple(json.loads(values["SCOREBOARD_ORIGINS"])),
        trusted_hops=int(values["SCOREBOARD_TRUSTED_HOPS"]),
        tls=CERTIFICATE if (overlay / "edge-tls.yaml").exists() else None,
        traces=telemetry.Traces.of(values),
    )
    return f"# Written by make cluster.\n{text}"


def front_yaml() -> str:
    """Render the file of the gateway before the regions."""
    regions = region_gateway.read(FRONT / "regions.toml")
    everywhere = "0.0.0.0"  # noqa: S104 -- in its pod
    return "# Written by make cluster.\n" + region_gateway.render(
        regions, EDGE_PORT, ENVOY_ADMIN_PORT, host=everywhere, tls=CERTIFICATE
    )


def nginx_conf() -> str:
    """Render the page's file, for the image."""
    return nginx.configuration(
        Path("/tmp"),  # noqa: S108 -- a volume of the pod's own
        f"0.0.0.0:{PAGE_PORT}",
        IMAGE / "web" / "dist",
        IMAGE / "web" / "reference",
        processes="worker_processes 2;",
    )


def redis_users() -> str:
    """Write the secret of Redis' accounts, of which the operator of secrets fills in each password's digest."""
    names, rules = accounts.ACCOUNTS, accounts.REDIS_RULES
    acl = ["user default off"]
    acl += [f"user {name} on #{{{{ .{name} | sha256sum }}}} resetchannels {rules[name]}" for name in names]
    asked = [f"{{secretKey: {name}, remoteRef: {{key: scoreboard/{name}, property: redis}}}}" for name in names]
    users = "\n".join(f"          {line}" for line in acl)
    store = "\n".join(f"  - {one}" for one in asked)
    return f"""# Written by make cluster, from scoreboard/local/accounts.py.
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: redis-users}}
spec:
  refreshInterval: 1h
  secretStoreRef: {{kind: ClusterSecretStore, name: scoreboard}}
  target:
    template:
      data:
        users.acl: |
{users}
  data:
{store}
"""


def alerts_yaml() -> str:
    """Wrap the rules of monitoring/rules, word for word, in the objects that Prometheus' operator takes."""
    rules = sorted((TREE / "monitoring" / "rules").glob("*.yml"))
    return "---\n".join(_prometheus_rule(file.stem, file.read_text()) for file in rules)


def _prometheus_rule(name: str, text: str) -> str:
    head = "# Written by make cluster, from monitoring/rules.\n"
    head += "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
    body = "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())
    return f"{head}metadata: {{name: {name}}}\nspec:\n{body}"


def files() -> dict[Path, str]:
    """Return what is to stand where."""
    made = {overlay / "envoy.yaml": envoy_yaml(overlay) for overlay in overlays()}
    prod = K8S / "overlays" / "prod"
    made |= {prod / "redis-users.yaml": redis_users(), prod / "alerts.yaml": alerts_yaml()}
    return {K8S / "base" / "nginx.conf": nginx_conf(), FRONT / "envoy.yaml": front_yaml(), **made}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
        print(path.relative_to(TREE))
