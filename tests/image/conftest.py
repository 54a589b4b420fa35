"""Runs the image as the overlay `dev` says, without Kubernetes: each pod confined by bubblewrap, with the files and
variables of the rendered objects, all in one network namespace (`make test-image` makes it, so that ports are free).

Postgres, Redis and RabbitMQ are the local mesh's, on the ports that the manifests name. Without that command nothing
here is collected: it needs root, Debian's buildah and bubblewrap, and the image.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scoreboard.local import postgres, probe, servers
from scoreboard.local.program import Program, Running, start
from scripts import deployment_secrets
from tests.image.kubelet import Kubelet, main_process
from tests.k8s.release import VERSION
from tests.k8s.rendered import pod
from tests.waiting import SCALE, eventually

IS_ASKED = "IMAGE_TEST" in os.environ  # set by make test-image
collect_ignore_glob = [] if IS_ASKED else ["test_*.py"]
#: Envoy starts last, for it listens once it has found every service.
STARTS = (
    ("auth-svc", "page"),
    ("score-svc", "leaderboard-svc", "stream-svc", "admin-svc", "worker"),
    ("envoy",),
)
BUILDER = ("buildah", "--root", ".image/storage", "--runroot", ".image/run", "--storage-driver", "overlay")


def _build(*arguments: str) -> str:
    done = subprocess.run([*BUILDER, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """The root of a container of the image; what is written there goes with it."""
    container = _build("from", "--pull=never", f"scoreboard:{VERSION}")
    try:
        yield Path(_build("mount", container))
    finally:
        _build("umount", container)
        _build("rm", container)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """What the pods' volumes and the servers' data stand in."""
    with tempfile.TemporaryDirectory(prefix="scoreboard-image-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="session")
def kubelet(root: Path, folder: Path) -> Kubelet:
    """Starts the pods of the overlay."""
    return Kubelet("dev", root, folder, deployment_secrets.make())


@pytest.fixture(scope="session")
async def broker(kubelet: Kubelet, folder: Path) -> AsyncIterator[Running]:
    """RabbitMQ with the definitions of the Secret."""
    definitions = kubelet.json("rabbitmq-definitions", "definitions.json")
    numbers = {"rabbitmq": 5672, "rabbitmq-epmd": 4369, "rabbitmq-dist": 25672}
    epmd = await _run(servers.epmd(4369), folder)
    node = await _run(servers.rabbitmq(folder, numbers, "cookie", definitions), folder)
    yield node
    await node.stop()
    await epmd.kill()


@pytest.fixture(scope="session")
async def mesh(kubelet: Kubelet, folder: Path, broker: Running) -> AsyncIterator[dict[str, Running]]:
    """Every pod of the overlay, by name, ready by its own probe."""
    running = [
        await _run(
            await asyncio.to_thread(postgres.postgres, folder, 5432, kubelet.value("postgres", "password")), folder
        ),
        await _run(kubelet.redis(), folder),
    ]
    await kubelet.run_to_end("migrate")
    pods: dict[str, Running] = {}
    try:
        for names in STARTS:  # one after the other; those of one line together
            started = await asyncio.gather(*(_run(kubelet.program(name), folder) for name in names))
            pods |= dict(zip(names, started, strict=True))
        yield pods
        await _end(kubelet, pods)
    finally:
        await asyncio.gather(*(pod.kill() for pod in pods.values()))
        await asyncio.gather(*(server.stop() for server in running))


async def _end(kubelet: Kubelet, pods: dict[str, Running]) -> None:
    """Ends the pods as Kubernetes does, the gateway first, and shows that each drains and ends well within its time."""
    hook = pod("dev", "envoy").container["lifecycle"]["preStop"]["exec"]["command"]
    await kubelet.run_to_end("envoy", *hook)
    await eventually(_is_shut, what="a gateway that takes no more calls")
    for name, running in pods.items():
        main_process(running).terminate()
        grace_s = pod("dev", name).spec["terminationGracePeriodSeconds"]
        assert await asyncio.wait_for(running.ended(), grace_s * SCALE) == 0, name


async def _is_shut() -> bool:
    return not await probe.listens(8080)


async def _run(program: Program, folder: Path) -> Running:
    running = await start(program, folder / f"{program.name}.log")
    await running.until_ready()
    return running
