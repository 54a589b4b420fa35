"""Asks and tells the RabbitMQ of a mesh what only its own tool can: alarms, queues, policies, definitions."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from scoreboard.local import servers, state
from scoreboard.local.trouble import Trouble

PROGRAM = servers.RABBITMQ_SCRIPT.with_name("rabbitmqctl")  # the one in /usr/sbin changes the user
TIMEOUT_S = 20.0  # it starts an Erlang VM: two seconds of CPU on an idle machine
CURE = "See: scoreboard status, and DIR/logs/rabbitmq.log."


async def ask(data: Path, *command: str) -> Any:
    """Return what `rabbitmqctl COMMAND` says as JSON. Raises Trouble when the node does not answer."""
    return json.loads(await tell(data, "--formatter", "json", *command))


async def tell(data: Path, *command: str) -> bytes:
    """Return what `rabbitmqctl COMMAND` says. Raises Trouble when the node does not answer, or refuses."""
    environment = servers.rabbitmq_environment(data / "rabbitmq", state.require(data).ports)
    argv = [str(PROGRAM), "--quiet", *command]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise Trouble(f"{PROGRAM} cannot be started: {error}", CURE) from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError as error:
        raise Trouble(f"RabbitMQ did not answer within {TIMEOUT_S:.0f} s.", CURE) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Trouble(f"RabbitMQ does not answer: {_first_line(err)}", CURE)
    return out


def _first_line(text: bytes) -> str:
    return next((line for line in text.decode(errors="replace").splitlines() if line.strip()), "no word")
