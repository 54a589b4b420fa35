"""Two regions on one machine behind the gateway that routes, as docs/regions.md has them; then one of them dies."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import pytest

from scoreboard.client import Client
from scoreboard.local.ports import Ports
from scoreboard.v1 import auth_pb2, leaderboard_pb2
from tests.e2e.pages import read_blocks
from tests.e2e.players import PASSWORD, Player, sign_up
from tests.e2e.protocols import Protocols
from tests.meshes import TREE, UP_TIMEOUT_S, Mesh
from tests.waiting import SCALE, eventually

STOP_S = 20.0
RATES = ("--logins-per-minute", "1000", "--updates-per-minute", "1000")
NONE: Mapping[str, str] = {}
FROM_US = "127.0.0.2"  # the page's `addresses`


@dataclass(frozen=True)
class World:
    """Both regions, and the way to them through the gateway that routes."""

    eu: Mesh
    us: Mesh
    url: str
    front: Protocols

    async def sign_up(self, region: str) -> Player:
        """A new player of a region."""
        async with httpx.AsyncClient(base_url=self.url, timeout=20 * SCALE, headers={"x-region": region}) as http:
            return await sign_up(Protocols(http, self.front.channel))

    async def score(
        self, player: Player, times: int = 1, protocol: str = "json", headers: Mapping[str, str] = NONE
    ) -> None:
        """Has a player play, by a token that says where."""
        for _ in range(times):
            request = player.update()
            said = await self.front.call(protocol, "UpdateScore", request, {**player.signed(request), **headers})
            assert said.message is not None, said

    async def bring_us_back(self) -> None:
        """Starts the region that was killed, as the page did."""
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SCOREBOARD_REGION", "us")
            environment.setenv("SCOREBOARD_OTHER_REGIONS", json.dumps([{"name": "eu", "gateway": self.eu.url}]))
            await self.us.up(*RATES)

    async def board(self, mesh: Mesh) -> dict[str, Any]:
        """The global board as a region tells it."""
        async with httpx.AsyncClient(timeout=20 * SCALE) as http:
            answer = await http.get(f"{mesh.url}/api/scores/global", params={"limit": 100})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def rank(self, mesh: Mesh, player: Player) -> httpx.Response:
        """A player's global place as a region tells it."""
        async with httpx.AsyncClient(timeout=20 * SCALE) as http:
            return await http.get(f"{mesh.url}/api/scores/global/rank/{player.session.user_id}")


def _with_ports(text: str, ports: dict[str, int]) -> str:
    for shown, name in (("8081", "eu"), ("8082", "us"), ("8000", "front")):
        text = text.replace(shown, str(ports[name]))
    return text


@pytest.fixture(scope="module")
async def world(servers_folder: Path) -> AsyncIterator[World]:
    folder = servers_folder / "regions"
    folder.mkdir(mode=0o711)
    ports = Ports()
    for name in ("eu", "us", "front"):
        ports.take(name)
    ports.release_all()
    blocks = read_blocks((TREE / "docs" / "regions.md").read_text())
    assert [block.language for block in blocks] == ["", "toml", ""]
    up, file, route = (_with_ports(block.text, ports.numbers) for block in blocks)
    (folder / "regions.toml").write_text(file)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(TREE)}
    environment |= dict(
        zip(("SCOREBOARD_LOGINS_PER_MINUTE", "SCOREBOARD_UPDATES_PER_MINUTE"), RATES[1::2], strict=True)
    )
    eu, us = (Mesh(folder / name, ports.numbers[name]) for name in ("eu", "us"))
    front: asyncio.subprocess.Process | None = None
    try:
        started = await asyncio.create_subprocess_exec("bash", "-ec", up, cwd=folder, env=environment)
        assert await asyncio.wait_for(started.wait(), 2 * UP_TIMEOUT_S * SCALE) == 0
        front = await asyncio.create_subprocess_exec("bash", "-ec", f"exec {route}", cwd=folder, env=environment)
        url = f"http://127.0.0.1:{ports.numbers['front']}"
        async with (
            httpx.AsyncClient(base_url=url, timeout=20 * SCALE) as http,
            grpc.aio.insecure_channel(url.removeprefix("http://")) as channel,
        ):
            await eventually(lambda: _answers(http), 30, "the gateway that routes")
            yield World(eu, us, url, Protocols(http, channel))
    finally:
        if front is not None and front.returncode is None:
            front.terminate()
            await asyncio.wait_for(front.wait(), STOP_S * SCALE)
        await asyncio.gather(eu.kill(), us.kill())


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        answers = [await http.get("/api/scores/boards", headers={"x-region": region}) for region in ("eu", "us")]
    except httpx.TransportError:
        return False
    return all(answer.status_code == 200 for answer in answers)


async def test_a_call_goes_where_its_token_says(world: World) -> None:
    for region, mesh in (("eu", world.eu), ("us", world.us)):
        player = await world.sign_up(region)
        claims = jwt.decode(player.session.access_token, options={"verify_signature": False})
        assert (claims["region"], claims["iss"]) == (region, mesh.url)
        for protocol in ("json", "grpc", "grpc-web"):
            await world.score(player, protocol=protocol)
        async with httpx.AsyncClient(base_url=mesh.url, timeout=20 * SCALE) as http:
            there = await http.get(f"/api/scores/rank/{player.session.user_id}")
        assert there.json()["score"] == 3 * 50
        # The token counts before what a client asks for, and a client does not write the token's word.
        other = "us" if region == "eu" else "eu"
        for header in ("x-region", "x-scoreboard-region"):
            await world.score(player, headers={header: other})


async def test_who_has_no_token_goes_by_address_and_else_to_the_default(world: World) -> None:
    for address, region in ((FROM_US, "us"), ("127.0.0.1", "eu"), ("127.0.0.3", "eu")):
        transport = httpx.AsyncHTTPTransport(local_address=address)
        async with httpx.AsyncClient(base_url=world.url, transport=transport, timeout=20 * SCALE) as http:
            player = await sign_up(Protocols(http, world.front.channel))
            claims = jwt.decode(player.session.access_token, options={"verify_signature": False})
            assert claims["region"] == region
            # From wherever he is, he may ask for his own region.
            asked = {"x-region": "eu" if region == "us" else "us"}
            login = auth_pb2.LoginRequest(username=player.name, password=PASSWORD)
            said = await Protocols(http, world.front.channel).call("json", "Login", login, asked)
            assert said.reason == "BAD_CREDENTIALS"


async def test_a_session_is_renewed_where_it_is_from(world: World) -> None:
    async with Client(
        world.url, deadline_s=20 * SCALE
    ) as client:  # it asks for no region, and comes from eu's addresses
        player = await world.sign_up("us")
        client.resume(player.session)
        renewed = await client.refresh()
        claims = jwt.decode(renewed.access_token, options={"verify_signature": False})
        assert claims["region"] == "us"
        assert (await client.score("win-round")).new_score == 50


async def test_a_client_does_not_write_the_tokens_word(world: World) -> None:
    headers = {"x-scoreboard-region": "us"}
    for address in ("127.0.0.1", "127.0.0.3"):  # of eu's, and of nobody's
        transport = httpx.AsyncHTTPTransport(local_address=address)
        async with httpx.AsyncClient(
            base_url=world.url, transport=transport, headers=headers, timeout=20 * SCALE
        ) as http:
            player = await sign_up(Protocols(http, world.front.channel))
        claims = jwt.decode(player.session.access_token, options={"verify_signature": False})
        assert claims["region"] == "eu"


async def test_a_token_that_no_region_made_is_refused_with_a_reason(world: World) -> None:
    forged = jwt.encode({"region": "us", "iss": world.us.url}, "0" * 32, "HS256")
    answer = await world.front.http.get("/api/scores/updates/x", headers={"authorization": f"Bearer {forged}"})
    assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_INVALID")


async def test_global_boards_are_merged_and_go_on_without_a_region(world: World) -> None:
    players = [await world.sign_up(region) for region in ("eu", "us", "eu", "us")]
    for times, player in enumerate(players, start=10):
        await world.score(player, times)
    names = [player.name for player in reversed(players)]  # best first

    async def is_whole(mesh: Mesh) -> bool:
        board = await world.board(mesh)
        shown = [(row["username"], row["region"]) for row in board["leaderboard"] if row["username"] in names]
        assert shown == list(zip(names, ("us", "eu", "us", "eu"), strict=True))
        assert [row["rank"] for row in board["leaderboard"]] == list(range(1, len(board["leaderboard"]) + 1))
        assert not [part for part in board["regions"] if part["stale"]]
        return True

    for mesh in (world.eu, world.us):
        await eventually(partial(is_whole, mesh), 20, "both regions on the board")
    board = await world.board(world.eu)
    assert [part["name"] for part in board["regions"]] == ["eu", "us"]
    assert board["players"] == sum(part["players"] for part in board["regions"])
    for row in board["leaderboard"]:
        for mesh in (world.eu, world.us):
            async with httpx.AsyncClient(timeout=20 * SCALE) as http:
                place = (await http.get(f"{mesh.url}/api/scores/global/rank/{row['userId']}")).json()
            assert (place["rank"], place["region"], place["approximate"]) == (row["rank"], row["region"], False)
    unknown = await world.front.call(
        "grpc", "GetGlobalRank", leaderboard_pb2.GetGlobalRankRequest(user_id="nobody"), {}
    )
    assert unknown.reason == "UNKNOWN_USER"

    await world.us.kill()
    try:
        await _goes_on_without_us(world, players, names)
    finally:
        await world.bring_us_back()
    await world.score(players[1])

    async def is_back() -> bool:
        return [part["stale"] for part in (await world.board(world.eu))["regions"]] == [False, False]

    await eventually(is_back, 20, "the other region's part as of now")


async def _goes_on_without_us(world: World, players: list[Player], names: list[str]) -> None:
    # It counts, and says whose part is old.
    await world.score(players[0], 5)

    async def says_what_is_stale() -> bool:
        now = await world.board(world.eu)
        assert [part["stale"] for part in now["regions"]] == [False, True]
        assert now["regions"][1]["ageS"] > 0
        shown = [row["username"] for row in now["leaderboard"] if row["username"] in names]
        return shown == [players[0].name, players[3].name, players[2].name, players[1].name]

    await eventually(says_what_is_stale, 20, "a board with an old part")
    place = (await world.rank(world.eu, players[0])).json()
    assert (place["region"], place["approximate"]) == ("eu", True)
    theirs = await world.rank(world.eu, players[1])
    assert (theirs.status_code, theirs.json()["reason"]) == (503, "LEADERBOARD_UNAVAILABLE")
    request = players[1].update()
    said = await world.front.call("json", "UpdateScore", request, players[1].signed(request))
    assert (said.status, said.reason) == (503, "SERVICE_AWAY")
    async with httpx.AsyncClient(base_url=world.url, timeout=20 * SCALE, headers={"x-region": "eu"}) as http:
        assert (await http.get("/api/scores/global")).status_code == 200
