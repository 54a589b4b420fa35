"""Generates what derives from `proto/`: stubs, descriptor set, tables of reasons and of roles, OpenAPI and its page.

`python -m scripts.proto` writes into the tree; `--check` generates elsewhere and fails when the tree is stale;
`--lint` runs buf by buf.yaml.
"""

import argparse
import filecmp
import json
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from scripts import openapi, openapi_page

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto/scoreboard/v1").glob("*.proto"))
INNER = ["board/job.proto"]
# An error with details becomes an empty 400 at the transcoder unless it knows their types.
DETAILS = ["google/rpc/error_details.proto", "google/rpc/status.proto"]

# The transcoder's HTTP status of each gRPC code (google/rpc/code.proto).
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def protoc(*arguments: str) -> None:
    """Runs the compiler of grpcio-tools; raises CalledProcessError when it refuses."""
    includes = [
        f"-I{ROOT / 'proto'}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"-I{distribution('googleapis-common-protos').locate_file('')}",
    ]
    plugins = [f"--plugin={p}={Path(sys.executable).parent / p}" for p in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *includes, *plugins, *arguments], check=True)


def reasons(descriptors: descriptor_pb2.FileDescriptorSet) -> list[tuple[str, str, str, int]]:
    """Reads (name without prefix, gRPC code, phrase, HTTP status) of each reason from the enum's options."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    options_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.EnumValueOptions"))
    code, phrase, http = (
        pool.FindExtensionByName(f"scoreboard.v1.{name}") for name in ("code", "phrase", "http_status")
    )
    rows = []
    for value in pool.FindEnumTypeByName("scoreboard.v1.ErrorReason").values[1:]:
        options = options_class.FromString(value.GetOptions().SerializeToString())
        status = options.Extensions[http] or HTTP_STATUS[options.Extensions[code]]
        rows.append(
            (
                value.name.removeprefix("ERROR_REASON_"),
                options.Extensions[code],
                options.Extensions[phrase],
                status,
            )
        )
    return rows


def python_reasons(rows: list[tuple[str, str, str, int]]) -> str:
    """The table of reasons for the services."""
    names = "\n".join(f'    {name} = "{name}"' for name, *_ in rows)
    codes = "\n".join(f"    Reason.{name}: StatusCode.{code}," for name, code, *_ in rows)
    phrases = "\n".join(f'    Reason.{name}: "{phrase}",' for name, _, phrase, _ in rows)
    statuses = "\n".join(f"    Reason.{name}: {status}," for name, *_, status in rows)
    return (
        '"""Every reason for a refusal, with its gRPC code. Generated from error_reason.proto."""\n\n'
        "from enum import StrEnum\n\nfrom grpc import StatusCode\n\n\n"
        'class Reason(StrEnum):\n    """A reason as the wire has it; error_reason.proto says when each occurs."""\n\n'
        f"{names}\n\n\nCODES = {{\n{codes}\n}}\n\n"
        f"#: The short phrase of a JSON error body.\nPHRASES = {{\n{phrases}\n}}\n\n"
        f"#: The HTTP status of a JSON error body.\nHTTP_STATUS = {{\n{statuses}\n}}\n"
    )


def lua_reasons(rows: list[tuple[str, str, str, int]]) -> str:
    """The table of reasons for the gateway's error body: reason to phrase and HTTP status."""
    lines = "\n".join(f'  {name} = {{phrase = "{phrase}", status = "{status}"}},' for name, _, phrase, status in rows)
    return f"-- Generated from error_reason.proto by scripts/proto.py.\nlocal REASONS = {{\n{lines}\n}}\n"


def generate(out: Path) -> None:
    """Writes every generated file below `out`, at the place it has in the tree."""
    for folder in ("scoreboard/v1", "board", "mesh", "envoy", "docs", "web/reference/docs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    protoc(f"--python_out={out}", f"--mypy_out=quiet:{out}", *CONTRACT, *INNER)
    services = [f for f in CONTRACT if "\nservice " in (ROOT / "proto" / f).read_text()]
    protoc(f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services)
    descriptor_file = out / "envoy/scoreboard.binpb"
    protoc(f"--descriptor_set_out={descriptor_file}", "--include_imports", *CONTRACT, *DETAILS)
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(descriptor_file.read_bytes())
    rows = reasons(descriptors)
    (out / "mesh/reasons.py").write_text(python_reasons(rows))
    (out / "envoy/reasons.lua").write_text(lua_reasons(rows))
    (out / "docs/rbac.md").write_text(_rbac(descriptors))
    described, reference = _openapi(rows), out / "web/reference"
    (reference / "openapi.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    (reference / "docs/index.html").write_text(openapi_page.page(described))


def _rbac(descriptors: descriptor_pb2.FileDescriptorSet) -> str:
    from scripts import rbac  # it imports the services, and these the stubs, which may be new

    return rbac.page(descriptors, rbac.rules())


def _openapi(rows: list[tuple[str, str, str, int]]) -> openapi.Json:
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"  # the gateway's has no comments
        protoc(f"--descriptor_set_out={image}", "--include_imports", "--include_source_info", *CONTRACT)
        files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    return openapi.document(files, rows, version)


def lint() -> int:
    """Runs `buf lint` on a compiled image, since buf's registry is not needed that way; returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        protoc(f"--descriptor_set_out={image}", "--include_imports", "--include_source_info", *CONTRACT, *INNER)
        buf = Path(sys.executable).parent / "buf"
        return subprocess.run([buf, "lint", image, "--config", ROOT / "buf.yaml"], check=False).returncode


def main() -> int:
    """Generates, or compares with `--check`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the checked-in files are stale")
    parser.add_argument("--lint", action="store_true", help="run buf lint")
    arguments = parser.parse_args()
    if arguments.lint:
        return lint()
    if not arguments.check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        made = [p.relative_to(fresh) for p in fresh.rglob("*") if p.is_file()]
        stale = [str(p) for p in made if not (ROOT / p).exists() or not filecmp.cmp(fresh / p, ROOT / p, shallow=False)]
    if stale:
        print("Stale, run `make proto`: " + ", ".join(sorted(stale)), file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
