"""Compares versions of grpcio: CPU of an empty unary call to grpc.aio on uvloop, in one interleaved run.

    .venv/bin/python bench/grpcio_versions.py 1.78.1 1.85.3

Each version gets a virtual environment in a temporary folder. Prints user + system µs a call of the server,
each round, and the median. Needs h2load (Debian: nghttp2-client) and uv on the PATH, or UV.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, CALLS, IN_FLIGHT = 3, 20_000, 64

SERVER = """
import asyncio, sys, grpc, uvloop
async def main():
    server = grpc.aio.server()
    async def empty(request, context):
        return b""
    handler = grpc.unary_unary_rpc_method_handler(empty)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bench", {"Empty": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()
uvloop.run(main())
"""


def cpu_s(pid: int) -> float:
    """Returns user + system seconds of a process (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(python: Path, body: Path) -> float:
    """Starts a server and returns its µs of CPU a call; fails unless every call was answered."""
    server = subprocess.Popen([python, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/bench.Bench/Empty"
        load = ["h2load", "-c", "4", "-m", str(IN_FLIGHT // 4), "-d", str(body)]
        load += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        subprocess.run([*load, "-n", "2000", url], check=True, stdout=subprocess.DEVNULL)
        before = cpu_s(server.pid)
        answer = subprocess.run([*load, "-n", str(CALLS), url], check=True, capture_output=True, text=True).stdout
        assert f"{CALLS} succeeded" in answer, answer
        return (cpu_s(server.pid) - before) / CALLS * 1e6
    finally:
        server.kill()
        server.wait()


def main(versions: list[str]) -> None:
    """Measures all versions, round by round, and prints a line each."""
    uv = os.environ.get("UV") or shutil.which("uv") or sys.exit("uv is not on the PATH: set UV=/path/to/uv")
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "empty.bin"
        body.write_bytes(bytes(5))
        for version in versions:
            venv = Path(folder) / version
            subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], check=True)
            packages = [f"grpcio=={version}", "uvloop"]
            subprocess.run([uv, "pip", "install", "-q", "--python", venv / "bin/python", *packages], check=True)
        figures: dict[str, list[float]] = {version: [] for version in versions}
        for _ in range(ROUNDS):
            for version in versions:
                figures[version].append(measure(Path(folder) / version / "bin/python", body))
    print(time.strftime("%Y-%m-%d"), sys.version.split()[0], f"{CALLS} calls, {IN_FLIGHT} in flight")
    for version, values in figures.items():
        rounds = ", ".join(f"{value:.0f}" for value in values)
        print(f"grpcio {version}: median {statistics.median(values):.0f} µs a call ({rounds})")


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
