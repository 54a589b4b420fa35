"""The fault tests' world, one a run, and each test's trial on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.fault import world as worlds
from tests.fault.process import Rabbitmq
from tests.fault.timeline import Timeline
from tests.fault.trial import Trial
from tests.fault.world import World


@pytest.fixture(scope="session")
def faults_folder(servers_folder: Path) -> Path:
    """A folder for the world's data that unprivileged accounts can pass."""
    folder = servers_folder / "faults"
    folder.mkdir()
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="session")
async def shared_world(faults_folder: Path, breakable_rabbitmq: Rabbitmq, timeline: Timeline) -> AsyncIterator[World]:
    """The mesh that fault tests may break. Use `trial`, or `world` in a test that sends nothing."""
    async with worlds.world(faults_folder, breakable_rabbitmq, timeline) as made:
        yield made


@pytest.fixture
async def world(
    shared_world: World, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> AsyncIterator[World]:
    """The world, whole and quiet, with a timeline of this test's own; mended after the test."""
    shared_world.timeline.begin(pytestconfig.getoption("randomly_seed", None))
    await shared_world.quiet()
    for process in shared_world.processes.values():
        process.forget_log()
    yield shared_world
    record_property("faults", shared_world.timeline.faults)
    dead = [process.name for process in shared_world.processes.values() if process.has_died]
    await shared_world.heal()
    await shared_world.quiet()
    assert not dead, f"{dead} ended by themselves"
    assert not [line for process in shared_world.processes.values() for line in process.logged('"level":"ERROR"')]


@pytest.fixture
async def trial(world: World, record_property: Callable[[str, object], None]) -> Trial:
    """A load on the world, and INV at its end."""
    return Trial(world, record_property)
