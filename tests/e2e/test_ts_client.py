"""The TypeScript client, as built into web/dist, in real Chromium at the whole mesh."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from playwright.async_api import Browser, Route, WebSocketRoute

from tests.e2e.pages import read_blocks
from tests.meshes import TREE, Mesh
from tests.waiting import SCALE, eventually
from tests.web.browser import Profile, Tab, chromium, profile

PASSWORD = "correct horse battery staple"
README = (TREE / "web/client/README.md").read_text()
LATE_S = 6.0 * SCALE  # score_svc says that an update waits after 2 s
NEVER_FALLS = "return frames.every((frame, n) => n === 0 || frame.version >= frames[n - 1].version)"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests here; each has profiles of its own."""
    async with chromium() as found:
        yield found


@pytest.fixture
async def person(browser: Browser, running: Mesh) -> AsyncIterator[Profile]:
    """A browser without any storage so far; nothing in it may have gone wrong unseen."""
    async with profile(browser, running.url) as found:
        yield found
        assert not found.trouble


async def sign_up(tab: Tab) -> str:
    """A new player in that tab; returns the user id."""
    name = f"ts-{secrets.token_hex(6)}"
    player = await tab.run("return await client.register(...given)", [name, PASSWORD])
    assert player["username"] == name
    user_id: str = player["userId"]
    return user_id


async def climb(tab: Tab) -> int:
    """Scores until the own row is within the first 100, for other tests' players share the board; returns the score."""
    score: int = await tab.run(
        "let update; for (const action of ['daily-bonus', 'win-round', 'win-round', 'win-round'])"
        " update = await client.score(action); return update.newScore"
    )
    assert score == 250
    return score


async def shows(tab: Tab, user_id: str, score: int) -> None:
    async def does() -> bool:
        return (await tab.shown()).get(user_id) == score

    await eventually(does, 30, f"{score} points on the watched board")


async def is_live(tab: Tab, by: str) -> None:
    async def does() -> bool:
        state = await tab.state()
        return (state["phase"], state["by"]) == ("live", by)

    await eventually(does, 60, f"a live board by {by}")


async def test_a_score_in_one_browser_is_seen_in_another(browser: Browser, running: Mesh, person: Profile) -> None:
    player = await person.tab()
    user_id = await sign_up(player)
    async with profile(browser, running.url) as stranger:
        watcher = await stranger.tab()
        await watcher.watch("{ limit: 100 }")
        await is_live(watcher, "websocket")
        score = await climb(player) + 50
        update = await player.run("return await client.score('win-round')")
        assert (update["status"], update["newScore"], update["points"]) == (1, score, 50)
        await shows(watcher, user_id, score)


async def test_what_a_client_reads_is_what_it_scored(person: Profile) -> None:
    tab = await person.tab()
    user_id = await sign_up(tab)
    score = await climb(tab) + 1
    await tab.run("await client.score('collect-coin')")
    rank = await tab.run("return await client.rank()")
    assert (rank["userId"], rank["score"], rank["board"]) == (user_id, score, "all")
    around = await tab.run("return await client.around()")
    assert [row["score"] for row in around["leaderboard"] if row["userId"] == user_id] == [score]
    top = await tab.run("return await client.top(100, { board: 'daily' })")
    assert [row["score"] for row in top["leaderboard"] if row["userId"] == user_id] == [score]
    boards = await tab.run("return (await client.boards()).map((board) => board.name)")
    assert boards == ["all", "daily", "weekly"]


async def test_a_session_outlives_the_page_with_a_key_that_nobody_can_read(person: Profile) -> None:
    tab = await person.tab()
    user_id = await sign_up(tab)
    await tab.reload()
    player = await tab.run("return await client.restore()")
    assert player["userId"] == user_id
    assert (await tab.run("return await client.score('win-round')"))["newScore"] == 50
    kept = await tab.run(
        "const all = await new Promise((resolve) => { const open = indexedDB.open('scoreboard-client');"
        " open.onsuccess = () => { open.result.transaction('sessions').objectStore('sessions').getAll().onsuccess ="
        " (found) => resolve(found.target.result); }; });"
        " const { key, ...rest } = all[0];"
        " const read = await crypto.subtle.exportKey('raw', key).then(() => 'read', (error) => error.name);"
        " return { sessions: all.length, isExtractable: key.extractable, usages: key.usages, read,"
        " others: Object.keys(rest).sort(), text: localStorage.length + sessionStorage.length };"
    )
    assert kept == {
        "sessions": 1,
        "isExtractable": False,
        "usages": ["sign"],
        "read": "InvalidAccessError",
        "others": ["accessToken", "clockAheadMs", "isGuest", "refreshToken", "renewAtMs", "userId", "username"],
        "text": 0,
    }


OVER = (
    "await new Promise((resolve) => { const open = indexedDB.open('scoreboard-client'); open.onsuccess = () => {"
    " const store = open.result.transaction('sessions', 'readwrite').objectStore('sessions');"
    " const cursor = store.openCursor(); cursor.onsuccess = () => {"
    " cursor.result.update({ ...cursor.result.value, renewAtMs: 0 }).onsuccess = resolve; }; }; })"
)


async def test_tabs_whose_token_is_over_renew_it_once(person: Profile) -> None:
    first = await person.tab()
    user_id = await sign_up(first)
    await first.run(OVER)
    await first.reload()
    second, third = await person.tab(), await person.tab()
    for tab in (first, second, third):
        await tab.run("await client.restore(); globalThis.done = client.score('collect-coin')")
    for tab in (first, second, third):
        assert (await tab.run("return await done"))["status"] == 1
    assert person.count("Refresh") == 1
    rank = await second.run("return await client.rank()")
    assert (rank["userId"], rank["score"]) == (user_id, 3)


async def test_a_renewal_whose_answer_was_lost_costs_no_session(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await lose_first_answer(person, "Refresh")
    await tab.run(OVER)
    await tab.reload()
    assert (await tab.run("return await client.score('win-round')"))["newScore"] == 50
    assert person.count("Refresh") == 2


async def test_a_renewal_outlives_the_patience_of_who_asked_for_it(person: Profile) -> None:
    tab, is_held = await person.tab(), asyncio.Event()
    await sign_up(tab)

    async def hold(route: Route) -> None:
        answer = await route.fetch()
        await is_held.wait()
        await route.fulfill(response=answer)

    await person.context.route("**/Refresh", hold)
    await tab.run(OVER)
    await tab.reload()
    refused = await tab.refused("await client.score('win-round', { deadlineS: 0.5 })")
    assert (refused["code"], refused["isUnknown"], refused["nonce"]) == ("DEADLINE_EXCEEDED", False, "")
    is_held.set()
    assert (await tab.run("return await client.score('win-round')"))["newScore"] == 50
    assert person.count("Refresh") == 1


async def test_a_closed_client_still_renews_its_session(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await tab.run(OVER)
    await tab.reload()
    assert (await tab.run("client.close(); return await client.score('win-round')"))["newScore"] == 50


async def test_an_update_whose_answer_was_lost_counts_once(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await lose_first_answer(person, "UpdateScore")
    assert (await tab.run("return await client.score('win-round')"))["newScore"] == 50
    assert person.count("UpdateScore") == 2
    assert (await tab.run("return await client.rank()"))["score"] == 50


async def lose(route: Route) -> None:
    """The call reaches the server, and its answer is lost."""
    await route.fetch()
    await route.abort("connectionreset")


async def lose_first_answer(person: Profile, method: str) -> None:
    await person.context.route(f"**/{method}", lose, times=1)


async def test_an_update_whose_outcome_stayed_unknown_is_settled_with_its_nonce(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await person.context.route("**/UpdateScore", lose)
    refused = await tab.refused("await client.score('win-round', { deadlineS: 1 })")
    assert refused["code"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    await person.context.unroute_all(behavior="wait")  # one that is still being lost cannot be lost after that
    assert refused["isUnknown"]
    settled = "return await client.score('win-round', { nonce: given })"
    assert (await tab.run(settled, refused["nonce"]))["newScore"] == 50


async def test_a_wrong_clock_gets_issued_nonces(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await tab.run("const now = Date.now; Date.now = () => now() - 10 * 60_000")
    assert (await tab.run("return await client.score('win-round')"))["newScore"] == 50
    assert (person.count("UpdateScore"), person.count("IssueNonce")) == (2, 1)
    assert (await tab.run("return await client.score('win-round')"))["newScore"] == 100
    assert (person.count("UpdateScore"), person.count("IssueNonce")) == (3, 2)


async def test_nonces_that_were_issued_before_count_later(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await tab.run("globalThis.nonces = await client.issueNonces('win-round', 2)")
    scores = await tab.run(
        "const scores = []; for (const nonce of [...nonces, nonces[0]])"
        " scores.push((await client.score('win-round', { nonce })).newScore); return scores"
    )
    assert scores == [50, 100, 50]


async def test_a_guest_becomes_an_account_and_is_erased(person: Profile) -> None:
    tab, name = await person.tab(), f"ts-{secrets.token_hex(6)}"
    guest = await tab.run("return await client.guest('Gwen')")
    assert guest["username"] == "Gwen"
    changed = await tab.run(
        "return await client.updateProfile({ username: given[0], newPassword: given[1] })", [name, PASSWORD]
    )
    assert changed == {"userId": guest["userId"], "username": name, "isGuest": False}
    assert await tab.run("await client.logout(); return await client.login(...given)", [name, PASSWORD]) == changed
    assert (await tab.refused("await client.deleteAccount('wrong password')"))["reason"] == "BAD_CREDENTIALS"
    await tab.run("await client.deleteAccount(given)", PASSWORD)
    assert await tab.run("return client.player") is None
    assert (await tab.refused("await client.login(...given)", [name, PASSWORD]))["reason"] == "BAD_CREDENTIALS"


async def test_a_logout_is_seen_in_every_tab(person: Profile) -> None:
    first, second = await person.tab(), await person.tab()
    user_id = await sign_up(first)

    async def is_known(player: str | None) -> bool:
        return bool(await second.run("return (client.player?.userId ?? null) === given", player))

    await eventually(lambda: is_known(user_id), 10, "the other tab's player")
    await first.run("await client.logout()")
    await eventually(lambda: is_known(None), 10, "the other tab's logout")
    assert (await second.refused("await client.score('win-round')"))["reason"] == "TOKEN_MISSING"


async def test_a_session_that_was_ended_elsewhere_is_forgotten(
    person: Profile, browser: Browser, running: Mesh
) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await tab.run("globalThis.players = []; client.onPlayer((player) => players.push(player))")
    # A client that knows the tokens, and no other tab: it ends the session without a word to this one.
    await tab.run(
        "const open = indexedDB.open('scoreboard-client'); await new Promise((done) => { open.onsuccess = done; });"
        " const all = open.result.transaction('sessions').objectStore('sessions').getAll();"
        " await new Promise((done) => { all.onsuccess = done; });"
        " await fetch('/api/auth/logout', { method: 'POST', headers: { 'content-type': 'application/json' },"
        " body: JSON.stringify({ refresh_token: all.result[0].refreshToken }) })"
    )
    assert (await tab.refused("await client.score('win-round')"))["reason"] == "SESSION_REVOKED"
    assert await tab.run("return [client.player, players]") == [None, [None]]


@pytest.mark.parametrize(
    ("body", "reason", "code"),
    [
        ("await client.score('no-such-action')", "UNKNOWN_ACTION", "INVALID_ARGUMENT"),
        ("await client.score('match-result')", "SERVER_ONLY_ACTION", "PERMISSION_DENIED"),
        ("await client.score('daily-bonus'); await client.score('daily-bonus')", "CAP_REACHED", "RESOURCE_EXHAUSTED"),
        ("await client.login('nobody-at-all', 'wrong password')", "BAD_CREDENTIALS", "UNAUTHENTICATED"),
        ("await client.register('x', 'short')", "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ("await client.top(0)", "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ("await client.top(3, { board: 'none' })", "UNKNOWN_BOARD", "NOT_FOUND"),
        ("await client.rank('u_nobody')", "UNKNOWN_USER", "NOT_FOUND"),
        ("await client.getUpdate('01a21e32-549c-77d9-9552-14dfd2e570dd')", "NOT_FOUND", "NOT_FOUND"),
    ],
    ids=["action", "server-only", "cap", "credentials", "password", "limit", "board", "player", "update"],
)
async def test_a_refusal_says_why(person: Profile, body: str, reason: str, code: str) -> None:
    tab = await person.tab()
    await sign_up(tab)
    refused = await tab.refused(body)
    assert (refused["reason"], refused["code"]) == (reason, code)
    assert refused["message"].endswith(".")


async def test_a_limit_says_when_a_retry_helps(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    refused = await tab.refused("for (let n = 0; n < 80; n++) await client.score('collect-coin')")
    assert (refused["reason"], refused["code"]) == ("RATE_LIMITED", "RESOURCE_EXHAUSTED")
    assert 0 < refused["retryAfterS"] <= 60


async def test_a_name_is_shown_as_the_server_writes_it(person: Profile) -> None:
    tab = await person.tab()
    player = await tab.run("return await client.guest()")
    assert player["username"] == ""
    update = await tab.run("return await client.score('win-round')")
    assert update["username"].startswith("Guest ")
    assert (await tab.run("return client.player"))["username"] == update["username"]


async def test_an_update_that_is_late_is_pending_and_then_settled(breakable: Mesh, person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await tab.run("await client.score('collect-coin')")
    with stopped_workers(breakable):
        late = await tab.run("return await client.score('win-round', { deadlineS: given })", LATE_S)
        assert (late["status"], late.get("newScore")) == (2, None)
        asked = person.count("GetUpdate")
        await tab.run("globalThis.settled = client.score('win-round', { deadlineS: 60 })")
        await eventually(lambda: person.count("GetUpdate") > asked, 30, "a question for the outcome")
    assert (await tab.run("return await settled"))["status"] == 1

    async def both_count() -> bool:
        first = await tab.run("return await client.getUpdate(given)", late["updateId"])
        return bool(first["status"] == 1)

    await eventually(both_count, 30, "the outcome of the first")

    async def both_are_shown() -> bool:  # the ledger told the outcomes, and Redis follows it
        return bool((await tab.run("return await client.rank()"))["score"] == 101)

    await eventually(both_are_shown, 10, "both updates on the board")


class stopped_workers:  # noqa: N801 -- used as a function
    """The workers of a mesh do nothing meanwhile."""

    def __init__(self, mesh: Mesh) -> None:
        self._workers = [psutil.Process(pid) for n in (1, 2) if (pid := mesh.pid(f"worker-{n}"))]
        assert self._workers

    def __enter__(self) -> None:
        for worker in self._workers:
            worker.suspend()

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.resume()


WAYS = ("websocket", "sse", "polling")


async def own_score(tab: Tab, score: int) -> Any:
    """The own rank, once the own place is shown with that score."""
    body = "return live.board?.me?.score === given && live.board.me.rank"
    return await eventually(lambda: tab.run(body, score), 30, f"{score} points at the own place")


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_shows_the_board_and_the_own_place(person: Profile, way: str) -> None:
    tab = await person.tab(f"{{ ways: ['{way}'] }}")
    user_id = await sign_up(tab)
    await tab.watch("{ limit: 100, me: true, board: 'daily' }")
    await is_live(tab, way)
    assert (await tab.state())["isFallback"] is False
    score = await climb(tab)
    await shows(tab, user_id, score)
    rank = await own_score(tab, score)
    assert rank == (await tab.run("return await client.rank(undefined, { board: 'daily' })"))["rank"]


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_signs_in_later_finds_the_own_place(person: Profile, way: str) -> None:
    tab = await person.tab(f"{{ ways: ['{way}'] }}")
    await tab.watch("{ limit: 100, me: true }")
    await is_live(tab, way)
    await sign_up(tab)
    await tab.run("await client.score('win-round')")
    assert await own_score(tab, 50)


@pytest.mark.parametrize("way", WAYS)
async def test_a_board_that_does_not_exist_ends_the_watch(person: Profile, way: str) -> None:
    tab = await person.tab(f"{{ ways: ['{way}'] }}")
    refused = await tab.refused("for await (const board of client.watch({ board: 'none' })) void board")
    assert refused["reason"] == "UNKNOWN_BOARD"


async def test_an_iteration_that_is_left_disconnects(person: Profile) -> None:
    tab = await person.tab()
    seen = await tab.run(
        "const watch = client.watch({ limit: 3 }); for await (const board of watch) {"
        " globalThis.first = board.board; break; } return [first, watch.state.phase]"
    )
    assert seen == ["all", "idle"]


async def test_where_no_websocket_can_be_made_the_next_way_is_taken(person: Profile) -> None:
    tab = await person.tab("{ WebSocket: class { constructor() { throw new DOMException('', 'SecurityError'); } } }")
    await tab.watch()
    await is_live(tab, "sse")


async def test_where_nothing_streams_the_next_way_is_taken(person: Profile) -> None:
    async def refuse(socket: WebSocketRoute) -> None:
        await socket.close()

    await person.context.route_web_socket("**/ws/leaderboard", refuse)
    tab = await person.tab()
    await tab.watch("{ limit: 100 }")
    await is_live(tab, "sse")
    assert (await tab.state())["isFallback"] is True
    await tab.run("live.close()")
    await tab.page.route("**/api/scores/stream*", lambda route: route.abort())
    await tab.watch("{ limit: 100 }")
    await is_live(tab, "polling")
    user_id = await sign_up(tab)
    await shows(tab, user_id, await climb(tab))
    person.trouble.clear()


@pytest.mark.parametrize("killed", ["stream_svc", "envoy"])
async def test_a_watch_comes_back_and_its_version_never_falls(breakable: Mesh, person: Profile, killed: str) -> None:
    tab = await person.tab()
    user_id = await sign_up(tab)
    score = await climb(tab) + 50
    await tab.watch("{ limit: 100 }")
    await is_live(tab, "websocket")
    pid = breakable.pid(killed)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: breakable.pid(killed) not in (None, pid), 60, f"another {killed}")
    await tab.run("await client.score('win-round', { deadlineS: given })", 60 * SCALE)
    await shows(tab, user_id, score)
    assert (await tab.state())["by"] == "websocket"
    assert await tab.run(NEVER_FALLS)
    phases = await tab.run("return states.map((state) => state.phase)")
    assert "ended" not in phases
    assert phases.count("connecting") >= 2  # the first time, and the return


async def test_the_page_of_its_readme(person: Profile) -> None:
    tab = await person.tab()
    await sign_up(tab)
    await tab.run("await client.score('win-round')")
    page = next(block.text for block in read_blocks(README) if block.language == "html")
    await person.context.route("**/top-three.html", lambda route: route.fulfill(body=page, content_type="text/html"))
    await tab.page.goto(person.url + "/top-three.html")
    await tab.page.locator("#board li").first.wait_for()
