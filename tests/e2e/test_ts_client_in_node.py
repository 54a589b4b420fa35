"""The TypeScript client in Node at the whole mesh, and the examples of its README.

`make test` takes the Node that Playwright brings along, and the bundle of web/dist: it needs nothing else. `make
test-web` names the machine's own Node by WEB_NODE, and takes the npm package that tsc has just made.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import playwright
import pytest

from tests.e2e.pages import assert_shows, read_blocks, shown_after
from tests.meshes import TREE, Mesh
from tests.waiting import SCALE
from tests.web.browser import DIST

CLIENT = TREE / "web/client"
README = (CLIENT / "README.md").read_text()
GIVEN = os.environ.get("WEB_NODE")
NODE = GIVEN or str(Path(playwright.__file__).parent / "driver/node")
MODULE = (CLIENT / "dist/index.js" if GIVEN else DIST / "client.js").as_uri()

PLAY = """
import { Client, ScoreboardError, UpdateStatus } from "scoreboard-client";

const client = new Client("http://127.0.0.1:8080", WAYS);
const said = {};
const watch = client.watch({ limit: 100, me: true });
said.before = client.player;
const { userId } = await client.register(NAME, "correct horse battery");
const scored = await client.score("win-round");
said.scored = [scored.status === UpdateStatus.APPLIED, scored.newScore, scored.username === NAME];
said.again = (await client.getUpdate(scored.updateId)).newScore;
// Until the own row is within the first 100, for other tests' players share the board.
for (const action of ["daily-bonus", "win-round", "win-round"]) await client.score(action);
for await (const board of watch) {
  const row = board.leaderboard.find((row) => row.userId === userId);
  if (row?.score === 250) {
    said.watched = [row.username === NAME, watch.state.phase, watch.state.by];
    break;
  }
}
said.rank = (await client.rank()).score;
said.around = (await client.around()).leaderboard.some((row) => row.userId === userId);
said.top = (await client.top(100)).leaderboard.some((row) => row.userId === userId);
said.boards = (await client.boards()).map((board) => board.name);
await client.logout();
said.after = await client.score("win-round").catch((error) => [error instanceof ScoreboardError, error.reason]);
await client.login(NAME, "correct horse battery");
said.login = client.player.userId === userId;
client.close();
console.log(JSON.stringify(said));
"""


async def node(program: str, mesh: Mesh) -> str:
    """What a program prints that uses the client at this mesh; it has to end by itself."""
    text = program.replace('"scoreboard-client"', json.dumps(MODULE)).replace("http://127.0.0.1:8080", mesh.url)
    process = await asyncio.create_subprocess_exec(
        *(NODE, "--input-type=module", "--eval", text),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60 * SCALE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("ways", ["", "sse", "polling"], ids=["by default", "sse", "polling"])
async def test_everything_that_a_client_can_do(running: Mesh, ways: str) -> None:
    name = f"node-{os.urandom(6).hex()}"
    options = json.dumps({"ways": [ways]} if ways else {})
    program = PLAY.replace("WAYS", options).replace("NAME", json.dumps(name))
    said = json.loads(await node(program, running))
    by = said["watched"].pop()
    assert by == (ways or by)
    assert said == {
        "before": None,
        "scored": [True, 50, True],
        "again": 50,
        "watched": [True, "live"],
        "rank": 250,
        "around": True,
        "top": True,
        "boards": ["all", "daily", "weekly"],
        "after": [True, "TOKEN_MISSING"],
        "login": True,
    }


EXAMPLES = [block for block in read_blocks(README) if block.language == "js"]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_the_examples_of_its_readme(running: Mesh, number: int) -> None:
    example = EXAMPLES[number].text
    assert_shows(await node(example, running), shown_after(read_blocks(README), example))
