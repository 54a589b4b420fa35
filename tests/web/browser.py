"""Real Chromium at a running gateway: pages of the gateway's own origin that have the built TypeScript client."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.waiting import SCALE

DIST = Path(__file__).resolve().parents[2] / "web/dist"
# A file of the static server's: its origin and its headers, the policy among them, and nothing that runs by itself.
BLANK = "/client.licenses.txt"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window. Fails with the cure where it is missing."""
    program = shutil.which("chromium")
    assert program is not None, "Chromium is missing: apt-get install chromium"
    async with async_playwright() as playwright:
        # Chromium's sandbox refuses root; the only pages here are our own.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(frozen=True)
class Profile:
    """A browser of its own as a person has it: tabs share its storage. Notes every call that leaves it."""

    context: BrowserContext
    url: str
    calls: list[str]  # the paths asked for, in order
    trouble: list[str]  # what the consoles say and what pages throw

    async def tab(self, options: str = "{}") -> Tab:
        """A new tab with a client; options: of `new Client`, as JavaScript."""
        tab = Tab(await self._page(), options)
        await tab.page.goto(self.url + BLANK)
        await tab.load()
        return tab

    async def visit(self, path: str = "/") -> Page:
        """A new tab at one of the gateway's pages, whose console may not complain either."""
        page = await self._page()

        def note(said: ConsoleMessage) -> None:
            if said.type in ("error", "warning"):
                self.trouble.append(said.text)

        page.on("console", note)
        await page.goto(self.url + path)
        return page

    async def _page(self) -> Page:
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        return page

    def count(self, method: str) -> int:
        """How often an RPC was called."""
        return len([path for path in self.calls if path.endswith(f"/{method}")])


@dataclass(frozen=True)
class Tab:
    """A page whose `client` is a Client of the gateway."""

    page: Page
    options: str

    async def load(self) -> None:
        """Brings the client in, as a page without a bundler does."""
        await self.page.evaluate(
            "async () => { Object.assign(globalThis, await import('/client.js'));"
            f" globalThis.client = new Client(undefined, {self.options}); }}"
        )

    async def reload(self) -> None:
        """Loads the page again: nothing but what was stored is left."""
        await self.page.reload()
        await self.load()

    async def run(self, body: str, argument: Any = None) -> Any:
        """Returns what the body of an async function returns; it knows `client` and `given`."""
        return await self.page.evaluate(f"async (given) => {{ {body} }}", argument)

    async def refused(self, body: str, argument: Any = None) -> dict[str, Any]:
        """Returns the ScoreboardError that the body throws."""
        said: dict[str, Any] | None = await self.run(
            f"try {{ {body} }} catch (e) {{ if (!(e instanceof ScoreboardError)) throw e;"
            " const { reason, code, message, retryAfterS, metadata, isUnknown, nonce } = e;"
            " return { reason, code, message, retryAfterS, metadata, isUnknown, nonce }; }",
            argument,
        )
        assert said is not None, "nothing was refused"
        return said

    async def watch(self, options: str = "{}") -> None:
        """Starts a watch: `frames` and `states` gather what it tells."""
        await self.run(
            "globalThis.frames = []; globalThis.states = [];"
            f" globalThis.live = client.watch({options}, (frame) => frames.push(frame));"
            " live.onState((state) => states.push(state));"
        )

    async def state(self) -> dict[str, Any]:
        """The state of that watch."""
        found: dict[str, Any] = await self.run("return live.state")
        return found

    async def shown(self) -> dict[str, float]:
        """The scores that it shows, by user id."""
        found: dict[str, float] = await self.run(
            "return Object.fromEntries((live.board?.leaderboard ?? []).map((row) => [row.userId, row.score]))"
        )
        return found


@asynccontextmanager
async def profile(browser: Browser, url: str, **options: Any) -> AsyncIterator[Profile]:
    """A browser without any storage so far. options: of Playwright's new_context."""
    context = await browser.new_context(**options)
    context.set_default_timeout(30_000 * SCALE)
    found = Profile(context, url, [], [])

    def note(request: Request) -> None:
        found.calls.append(request.url.removeprefix(url).partition("?")[0])

    context.on("request", note)
    try:
        yield found
    finally:
        await context.close()
