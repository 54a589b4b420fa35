"""The live board, as built into web/dist, in real Chromium at a mesh of its own: what people see and do there."""

from __future__ import annotations

import os
import re
import secrets
import signal
import statistics
import tomllib
from collections.abc import AsyncIterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.hop import HOP
from tests.meshes import TREE, Mesh, new_mesh
from tests.sizes import BUSY, sized
from tests.waiting import SCALE, eventually
from tests.web.browser import Profile, chromium, profile
from tests.web.crowding import crowd

PASSWORD = "correct horse battery staple"
CLICKS = sized(20, 50)
AXE = resources.files("axe_playwright_python").joinpath("axe.min.js")  # Deque's axe-core, as PyPI has it
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PHONE = {"width": 390, "height": 844}
AWAY = ("net::ERR_", "WebSocket connection to")  # what a browser notes of its own accord while a server is away


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests here; each has profiles of its own."""
    expect.set_options(timeout=10_000 * SCALE)
    async with chromium() as found:
        yield found


@pytest.fixture(scope="module")
async def mesh(servers_folder: Path) -> AsyncIterator[Mesh]:
    """A mesh whose gateway may be killed, and whose boards may be long."""
    own = new_mesh(servers_folder / "live-board")
    await own.up("--logins-per-minute", "1000", "--updates-per-minute", str(CLICKS + 10), "--hop", HOP)
    try:
        yield own
    finally:
        await own.kill()


@pytest.fixture(scope="module")
async def crowded(mesh: Mesh) -> list[str]:
    """1,000 players on every board, with 1 to 10 points; their ids, best first."""
    return await crowd(mesh)


@pytest.fixture
async def person(browser: Browser, mesh: Mesh) -> AsyncIterator[Profile]:
    """Somebody who opens the page. Nothing may go wrong unseen, and nothing come from elsewhere."""
    async with profile(browser, mesh.url) as found:
        yield found
        assert not found.trouble
        assert all(call.startswith("/") for call in found.calls)


async def sign_up(page: Page) -> str:
    """Signs a new player up by the form; returns the name."""
    name = f"lb-{secrets.token_hex(6)}"
    await page.get_by_role("button", name="Sign up").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign up").click()
    await expect(page.get_by_text(f"Playing as {name}")).to_be_visible()
    return name


def row_of(page: Page, name: str) -> Any:
    return page.locator("main .row", has_text=name)


async def play(page: Page, action: str, told: str) -> None:
    """Sends an action by its button, and waits for what is said of it."""
    await page.get_by_role("button", name=action).click()
    await expect(page.locator(".told")).to_contain_text(told)


# Notes when the score of a row is on the screen: the frame after the one that brought it.
NOTE_SCORES = """(name) => {
  globalThis.seen = {};
  let last;
  const read = () => {
    const row = [...document.querySelectorAll("main .row")].find((row) => row.textContent.includes(name));
    const score = row?.querySelector("data").value;
    if (score !== undefined && score !== last) {
      last = score;
      requestAnimationFrame(() => { seen[score] = performance.timeOrigin + performance.now(); });
    }
  };
  new MutationObserver(read).observe(document.body, { subtree: true, childList: true, attributes: true });
  addEventListener("click", () => { globalThis.clicked = performance.timeOrigin + performance.now(); }, true);
}"""


async def click_to_screens(player: Page, watcher: Page, name: str, clicks: int) -> dict[str, list[float]]:
    """Milliseconds from each click to the new score on one's own and on the other screen."""
    for page in (player, watcher):
        await page.evaluate(NOTE_SCORES, name)
    button = player.locator('[data-action="collect-coin"]')
    score = int(await row_of(player, name).locator("data").get_attribute("value") or "")
    took: dict[str, list[float]] = {"own": [], "other": []}
    for n in range(1, clicks + 1):
        await button.click()
        clicked = await player.evaluate("clicked")
        for screen, page in (("own", player), ("other", watcher)):
            at = await eventually(partial(page.evaluate, "(score) => seen[score] ?? 0", score + n), 10, "the score")
            took[screen].append(at - clicked)
    return took


async def test_a_click_is_on_both_screens_within_a_second(browser: Browser, mesh: Mesh, person: Profile) -> None:
    player = await person.visit()
    name = await sign_up(player)
    await play(player, "Win round", "+50. You have 50 points.")
    async with profile(browser, mesh.url) as stranger:
        watcher = await stranger.visit()
        await expect(row_of(watcher, name)).to_be_visible()
        took = await click_to_screens(player, watcher, name, CLICKS)
        assert not stranger.trouble
    for screen, milliseconds in took.items():
        cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
        print(f"click to the {screen} screen: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms of {len(milliseconds)}")
        assert cuts[98] < 1000 * BUSY * SCALE
    await expect(row_of(player, name).locator("data")).to_have_text(f"{50 + CLICKS}")


async def test_a_row_that_overtakes_glides_and_says_so(browser: Browser, mesh: Mesh, person: Profile) -> None:
    async with profile(browser, mesh.url) as other:
        rival = await other.visit()
        first = await sign_up(rival)
        await play(rival, "Win round", "You have 50 points.")
    page = await person.visit()
    second = await sign_up(page)
    await play(page, "Win round", "You have 50 points.")
    await expect(row_of(page, second).locator(".tie")).to_contain_text("tied")
    await expect(row_of(page, second).locator(".moved")).to_have_text("")  # "new" is news for a while
    await page.evaluate(
        "() => { globalThis.glides = []; const animate = Element.prototype.animate;"
        " Element.prototype.animate = function (...given) {"
        " if (given[0][0].transform) glides.push([this.textContent, given[0][0].transform]);"
        " return animate.apply(this, given); }; }"
    )
    await play(page, "Collect coin", "You have 51 points.")
    await expect(row_of(page, second).locator(".moved")).to_contain_text(re.compile("up [0-9]+ place"))
    glides = dict(await page.evaluate("glides"))
    overtaken = next(text for text in glides if first in text)
    own = next(text for text in glides if second in text)
    assert re.match(r"translateY\(\d", glides[own])  # from below
    assert glides[overtaken].startswith("translateY(-")  # from above
    own_row = page.locator('.row[aria-current="true"]')
    await expect(own_row).to_contain_text(second)
    await expect(own_row.get_by_text("you", exact=True)).to_be_visible()


async def test_who_prefers_less_motion_gets_none(browser: Browser, mesh: Mesh) -> None:
    async with profile(browser, mesh.url, reduced_motion="reduce") as person:
        page = await person.visit()
        name = await sign_up(page)
        await play(page, "Collect coin", "You have 1 point.")
        await page.evaluate("() => { Element.prototype.animate = () => { throw new Error('something moves'); }; }")
        await play(page, "Win round", "You have 51 points.")
        await expect(row_of(page, name).locator("data")).to_have_text("51")
        assert not person.trouble


async def test_it_comes_back_when_the_gateway_was_restarted(mesh: Mesh, person: Profile) -> None:
    page = await person.visit()
    name = await sign_up(page)
    await play(page, "Win round", "You have 50 points.")
    phases = "globalThis.phases = []; const box = document.querySelector('.connection');"
    await page.evaluate(
        phases + " new MutationObserver(() => phases.push(box.dataset.phase)).observe(box, { attributes: true })"
    )
    pid = mesh.pid("envoy")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: page.evaluate("phases.length > 0"), 10, "a word about the lost connection")
    await expect(row_of(page, name)).to_be_visible()  # what was there stays
    await eventually(lambda: mesh.pid("envoy") not in (None, pid), 60, "another gateway")
    await expect(page.locator(".connection")).to_have_attribute("data-phase", "live", timeout=30_000 * SCALE)
    await play(page, "Collect coin", "You have 51 points.")
    await expect(row_of(page, name).locator("data")).to_have_text("51")
    await mesh.until_whole()
    person.trouble[:] = [said for said in person.trouble if not any(mark in said for mark in AWAY)]


async def test_a_device_without_a_network_is_told_so(person: Profile) -> None:
    page = await person.visit()
    status = page.locator(".connection [role=status]")
    await expect(status).to_have_text("Live")
    await person.context.set_offline(True)
    await expect(status).to_contain_text("This device is offline.")
    await person.context.set_offline(False)
    await expect(status).to_have_text("Live")
    person.trouble[:] = [said for said in person.trouble if not any(mark in said for mark in AWAY)]


async def test_a_thousand_rows_are_there_and_only_those_in_sight_are_drawn(person: Profile, crowded: list[str]) -> None:
    page = await person.visit()
    last = page.locator(f'[data-user="{crowded[850]}"]')  # other tests' players stand before them

    async def scroll() -> bool:
        await page.mouse.wheel(0, 20_000)
        return await last.count() == 1

    await eventually(scroll, 30, "row 850")
    await eventually(lambda: page.evaluate("document.querySelectorAll('.row').length >= 1000"), 10, "1,000 rows")
    drawn = "(one) => one.checkVisibility({ contentVisibilityAuto: true })"
    assert await page.evaluate(f"[...document.querySelectorAll('.row')].filter({drawn}).length") <= 400
    await page.evaluate("scrollTo(0, 0)")
    name = await sign_up(page)
    await play(page, "Win round", "You have 50 points.")
    await expect(row_of(page, name).locator("data")).to_have_text("50")
    await page.evaluate(
        "() => { globalThis.touched = new Set(); new MutationObserver((all) => { for (const one of all)"
        " touched.add((one.target.closest ?? (() => null)).call(one.target, '.row')?.dataset.user); })"
        ".observe(document.querySelector('main'), { subtree: true, attributes: true, attributeFilter: ['value'] }); }"
    )
    await play(page, "Collect coin", "You have 51 points.")
    await expect(row_of(page, name).locator("data")).to_have_text("51")  # the board follows the answer
    assert len(await page.evaluate("[...touched]")) == 1  # of 1,000


async def test_the_search_finds_a_player_far_down_and_the_next_of_that_name(
    person: Profile, crowded: list[str]
) -> None:
    page = await person.visit()
    field = page.get_by_label("Find a player")
    await field.fill("player 0999")
    await field.press("Enter")
    around = page.get_by_role("region", name="Around Player 0999")
    await expect(around.locator("[data-found]")).to_contain_text("Player 0999")
    assert await around.locator(".row").count() >= 5
    await field.fill("PLAYER 000")
    await field.press("Enter")
    found = page.locator("[data-found]")
    await expect(found).to_have_attribute("data-user", crowded[0])
    await expect(found).to_be_in_viewport()
    await field.press("Enter")
    await expect(found).to_have_attribute("data-user", crowded[1])
    await field.fill("nobody-at-all")
    await field.press("Enter")
    await expect(page.locator(".search [role=status]")).to_have_text(
        "Nobody on this board matches “nobody-at-all”.", timeout=20_000 * SCALE
    )


async def test_boards_and_periods_have_addresses(person: Profile) -> None:
    page = await person.visit()
    boards = page.get_by_role("navigation", name="Boards")
    await boards.get_by_role("link", name="Daily").click()
    await expect(page).to_have_url(re.compile(r"\?board=daily$"))
    await expect(page.locator(".facts")).to_contain_text(re.compile(r"resets in (\d+ h )?\d+ [ms]"))
    await expect(page).to_have_title("Daily · Scoreboard")
    await page.go_back()
    await expect(page).to_have_title("All time · Scoreboard")
    await page.goto(f"{person.url}/?board=daily&period=previous")
    await expect(page.locator("main")).to_contain_text("Nobody scored.")
    await expect(page.locator(".facts")).to_contain_text("this is how it ended")


@pytest.mark.parametrize("address", ["/?board=none", "/?board=daily&period=2020-01-01"], ids=["board", "period"])
async def test_what_does_not_exist_is_said_in_words(person: Profile, address: str) -> None:
    page = await person.visit(address)
    await expect(page.locator("main")).to_contain_text("No such board.")
    await expect(page.locator("main")).to_contain_text("There are: All time, Daily, Weekly.")


async def test_refusals_are_said_in_words_and_their_waits_count_down(person: Profile) -> None:
    page = await person.visit()
    await page.get_by_role("button", name="Play as a guest").click()
    await page.get_by_role("button", name="Play", exact=True).click()
    await play(page, "Daily bonus", "+100.")
    await play(page, "Daily bonus", "Enough for now.")
    await expect(page.locator('[data-action="daily-bonus"]')).to_have_attribute("aria-disabled", "true")
    await expect(page.locator('[data-action="daily-bonus"]')).to_contain_text(re.compile(r"\d+ [hms]"))
    await page.get_by_text("Another action").click()
    for action, words in (("match-result", "For game servers only."), ("no-such-action", "No such action.")):
        await page.get_by_label("Its id in the catalogue").fill(action)
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".told")).to_contain_text(words)
    coin = page.locator('[data-action="collect-coin"]')
    await coin.evaluate("(button) => { for (let n = 0; n < 70; n++) button.click(); }")
    await expect(page.locator(".told")).to_contain_text("Too fast.")
    wait = page.locator(".told .wait")
    first = str(await wait.text_content())
    assert re.fullmatch(r"Again in \d+ s", first)
    await expect(wait).not_to_have_text(first)


async def test_a_wrong_password_is_said_to_who_typed_it(person: Profile) -> None:
    page = await person.visit()
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_label("Name").fill("nobody-at-all")
    await page.get_by_label("Password").fill("wrong password")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    person.trouble.clear()  # Chromium notes answers of 401


async def test_keys_alone_lead_from_sign_up_to_a_score(person: Profile) -> None:
    page, name = await person.visit(), f"lb-{secrets.token_hex(6)}"
    await expect(page.get_by_role("button", name="Sign up")).to_be_visible()

    async def go_to(label: str) -> None:
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.textContent") == label:
                return
        raise AssertionError(f"Tab does not lead to {label}")

    await go_to("Sign up")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Name")).to_be_focused()
    await page.keyboard.type(name)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text(f"Playing as {name}")).to_be_focused()  # not lost with the form
    await go_to("Win round")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await page.evaluate(outline) == "solid"
    await page.keyboard.press("Enter")
    await expect(page.locator(".told [role=status]")).to_contain_text("You have 50 points.")
    await expect(row_of(page, name)).to_be_visible()


async def test_a_session_outlives_the_page(person: Profile) -> None:
    page = await person.visit()
    name = await sign_up(page)
    await page.reload()
    await expect(page.get_by_text(f"Playing as {name}")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("button", name="Play as a guest")).to_be_visible()


async def test_a_guest_is_kept_by_a_name_and_a_password(browser: Browser, mesh: Mesh, person: Profile) -> None:
    page, name = await person.visit(), f"lb-{secrets.token_hex(6)}"
    taken = await sign_up(page)
    keep = page.get_by_role("button", name="Keep this player")
    await expect(keep).to_have_count(0)  # who has an account
    await page.get_by_role("button", name="Log out").click()

    await page.get_by_role("button", name="Play as a guest").click()
    await page.get_by_label("Name").fill("Gwen")
    await page.get_by_role("button", name="Play", exact=True).click()
    await play(page, "Win round", "You have 50 points.")
    await page.reload()
    await keep.click()
    await expect(page.get_by_label("Name")).to_have_value("Gwen")
    await page.get_by_label("Name").fill(taken)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Keep", exact=True).click()
    await expect(page.get_by_role("alert")).to_be_visible()
    person.trouble.clear()  # Chromium notes answers of 409
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Keep", exact=True).click()
    await expect(page.get_by_text(f"Playing as {name}")).to_be_focused()
    await expect(keep).to_have_count(0)
    await expect(row_of(page, name).locator("data")).to_have_text("50")

    async with profile(browser, mesh.url) as elsewhere:
        again = await elsewhere.visit()
        await again.get_by_role("button", name="Log in").click()
        await again.get_by_label("Name").fill(name)
        await again.get_by_label("Password").fill(PASSWORD)
        await again.get_by_role("button", name="Log in").click()
        await play(again, "Collect coin", "You have 51 points.")
        assert not elsewhere.trouble


async def test_a_wall_screen_shows_so_many_rows_and_no_more(person: Profile, crowded: list[str]) -> None:
    assert crowded
    page = await person.visit("/?kiosk&rows=8&board=weekly")
    await expect(page.locator(".row")).to_have_count(8)
    await expect(page.get_by_role("heading", name="Weekly")).to_be_visible()
    await expect(page.locator(".kiosk-facts")).to_contain_text("resets in")
    await expect(page.get_by_role("button")).to_have_count(0)
    await expect(page.locator(".row").last).to_be_in_viewport(ratio=1)


async def test_the_playground_offers_the_catalogue_s_actions(person: Profile) -> None:
    catalogue = tomllib.loads((TREE / "scoreboard.toml").read_text())["actions"]
    page = await person.visit()
    await sign_up(page)
    offered = await page.locator("[data-action]").evaluate_all("(all) => all.map((one) => one.dataset.action)")
    assert offered == [name for name, action in catalogue.items() if action.get("reporter") != "server"]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/", {"color_scheme": "light"}),
        ("/?board=daily", {"color_scheme": "dark"}),
        ("/", {"color_scheme": "light", "viewport": PHONE, "has_touch": True}),
    ],
    ids=["light", "dark", "phone"],
)
async def test_axe_finds_no_fault_where_people_play(
    browser: Browser, mesh: Mesh, path: str, options: dict[str, Any]
) -> None:
    async with profile(browser, mesh.url, **options) as person:
        page = await person.visit(path)
        await page.get_by_role("button", name="Sign up").click()
        await assert_clean(page)  # with the form
        await page.get_by_role("button", name="Back").click()
        await sign_up(page)
        await play(page, "Daily bonus", "+100.")
        await play(page, "Daily bonus", "Enough for now.")
        await expect(page.locator('.row[aria-current="true"]')).to_be_visible()
        await assert_clean(page)  # with an own row and a refusal
        assert not person.trouble


@pytest.mark.parametrize(
    ("path", "scheme"),
    [("/?kiosk", "dark"), ("/?kiosk&theme=light", "dark"), ("/?board=none", "light")],
    ids=["kiosk", "kiosk-light", "trouble"],
)
async def test_axe_finds_no_fault_where_people_watch(browser: Browser, mesh: Mesh, path: str, scheme: Any) -> None:
    async with profile(browser, mesh.url, color_scheme=scheme) as person:
        page = await person.visit(path)
        await expect(page.locator(".row, .blank .large").first).not_to_have_text("One moment.")
        await assert_clean(page)
        assert not person.trouble


async def assert_clean(page: Page) -> None:
    """Asks axe about WCAG 2.2 AA. The page's policy lets no page bring it in, and does not bind Playwright."""
    await page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("(tags) => axe.run({ runOnly: tags })", WCAG)
    faults = [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found["violations"]]
    assert not faults
    assert len(found["passes"]) >= 10
