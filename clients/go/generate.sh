#!/usr/bin/env bash
# Generates the stubs in scoreboardv1/ from proto/, by the plugins that go.mod pins.
# PROTOC names the compiler, GOOGLEAPIS a folder with google/api/annotations.proto (a checkout of googleapis, or where
# pip put googleapis-common-protos); by default both are those of this repository's .venv (`make setup`).
set -euo pipefail
cd "$(dirname "$0")"

readonly ROOT=../.. OUT=scoreboard.example/play/scoreboardv1
protoc=(${PROTOC:-"$ROOT/.venv/bin/python" -m grpc_tools.protoc})
googleapis=${GOOGLEAPIS:-$(echo "$ROOT"/.venv/lib/python3.*/site-packages)}
plugins=$(mktemp -d)
trap 'rm -r "$plugins"' EXIT
go build -o "$plugins" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc

files=() options=(--go_opt=module=scoreboard.example/play --go-grpc_opt=module=scoreboard.example/play)
for name in auth common leaderboard score stream; do
  file=scoreboard/v1/$name.proto
  files+=("$file")
  options+=("--go_opt=M$file=$OUT" "--go-grpc_opt=M$file=$OUT")
done
PATH="$plugins:$PATH" "${protoc[@]}" -I"$ROOT/proto" -I"$googleapis" \
  --go_out=. --go-grpc_out=. "${options[@]}" "${files[@]}"
