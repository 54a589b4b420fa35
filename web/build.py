"""Generates, builds and checks what is made from `web/` and committed, so that nobody needs Node to run the mesh.

`python web/build.py` writes the stubs of `proto/` into `client/src/gen` and what the gateway serves into `dist`;
`--check` makes both elsewhere and fails when the tree is stale. Both need Node 20.19 or later with npm.
`dist.sha256` holds the digest of what `dist` was made from: tests/web/test_fresh.py compares it without Node.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from scoreboard.v1 import error_reason_pb2

WEB = Path(__file__).resolve().parent
ROOT = WEB.parent
GEN, DIST, DIGEST = Path("client/src/gen"), Path("dist"), Path("dist.sha256")
PROTOS = (
    *(f"scoreboard/v1/{name}.proto" for name in ("auth", "common", "error_reason", "leaderboard", "score", "stream")),
    *("google/api/annotations.proto", "google/api/http.proto"),  # imported by the contract
    *("google/rpc/error_details.proto", "google/rpc/status.proto"),
)
SOURCES = ("package.json", "package-lock.json", "tsconfig.base.json", "board", "client")  # what dist is made from,
NO_SOURCES = {"node_modules", "dist", "test"}  # but for these folders, and prose


def sources() -> list[Path]:
    """Returns the files that `dist` is made from."""
    found = [path for top in SOURCES for path in (WEB / top, *(WEB / top).rglob("*")) if path.is_file()]
    return sorted(path for path in found if path.suffix != ".md" and not NO_SOURCES & set(path.relative_to(WEB).parts))


def contract() -> list[bytes]:
    """Returns the contract that the stubs are made of, without its comments, which change nothing in `dist`."""
    # A process that knows an extension writes it in another place than one that does not.
    assert annotations_pb2.http.number
    assert error_reason_pb2.code.number
    described = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "envoy/scoreboard.binpb").read_bytes())
    return [file.SerializeToString(deterministic=True) for file in described.file if file.name in PROTOS]


def digest() -> str:
    """Returns the SHA-256 of those files with their places, and of the contract."""
    total = hashlib.sha256()
    for path in sources():
        total.update(f"{path.relative_to(WEB).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for file in contract():
        total.update(hashlib.sha256(file).digest())
    return total.hexdigest()


def run(*command: str | Path) -> None:
    """Runs a command in web/; raises CalledProcessError."""
    subprocess.run(command, cwd=WEB, check=True)


def install() -> None:
    """Installs the locked packages; none of their scripts runs. Raises SystemExit where there is no Node."""
    if shutil.which("npm") is None:
        sys.exit("web: this needs Node 20.19 or later with npm (Debian: apt-get install nodejs npm, or nodejs.org).")
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def generate(out: Path) -> None:
    """Writes the TypeScript of the contract below `out`."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    includes = (
        ROOT / "proto",
        files("grpc_tools") / "_proto",
        distribution("googleapis-common-protos").locate_file(""),
    )
    run(
        *(sys.executable, "-m", "grpc_tools.protoc", *(f"-I{include}" for include in includes)),
        f"--plugin=protoc-gen-es={WEB / 'node_modules/.bin/protoc-gen-es'}",
        *(f"--es_out={out}", "--es_opt=target=ts,import_extension=js"),
        *PROTOS,
    )


def build() -> None:
    """Builds `dist` in place, for the place of a bundle must not show in it, and notes what it was made from."""
    run("npm", "run", "build", "--silent")
    (WEB / DIGEST).write_text(digest() + "\n")


def differences(made: Path, kept: Path) -> list[str]:
    """Returns what differs between two folders, by path."""
    paths = {path.relative_to(top) for top in (made, kept) for path in top.rglob("*") if path.is_file()}
    return [str(path) for path in sorted(paths) if not _same(made / path, kept / path)]


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def check() -> int:
    """Makes all of it again and puts back what was there; returns 1, and says what differs, when it was stale."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        for part in (GEN, DIST):
            shutil.copytree(WEB / part, kept / part)
        noted = (WEB / DIGEST).read_text()
        try:
            generate(WEB / GEN)
            build()
            stale = [f"web/{part / name}" for part in (GEN, DIST) for name in differences(WEB / part, kept / part)]
        finally:
            (WEB / DIGEST).write_text(noted)
            for part in (GEN, DIST):
                shutil.rmtree(WEB / part, ignore_errors=True)
                shutil.copytree(kept / part, WEB / part)
    for name in stale:
        print(f"stale: {name} (run `make web`)")
    return 1 if stale else 0


def main() -> int:
    """Makes, or compares with `--check`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail when what is committed is stale")
    is_check = parser.parse_args().check
    install()
    if is_check:
        return check()
    generate(WEB / GEN)
    build()
    return 0


if __name__ == "__main__":
    sys.exit(main())
