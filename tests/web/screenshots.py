"""Takes the pictures of docs/screenshots of a mesh of its own: `python -m tests.web.screenshots`."""

from __future__ import annotations

import asyncio
import random
import secrets
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.meshes import TREE, Mesh, new_mesh
from tests.web.browser import chromium, profile
from tests.web.crowding import add_players, report

OUT = TREE / "docs/screenshots"
FIRST = (
    "Ada",
    "Grace",
    "Radia",
    "Linus",
    "Margaret",
    "Dennis",
    "Barbara",
    "Edsger",
    "Katherine",
    "Hedy",
    "Alan",
    "Jean",
)
LAST = ("Okafor", "Lindqvist", "Moreau", "Tanaka", "Silva", "Novak", "Haddad", "Byrne", "Kowalski", "Iyer", "Duarte")
OWN = {"light": "Wilma Brandt", "dark": "Noor Aziz", "phone": "Tomás Rey"}
PLAYERS = 120
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "light": ("/", {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}}),
    "dark": ("/?board=daily", {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}}),
    "phone": ("/?board=weekly", {"color_scheme": "light", "viewport": {"width": 390, "height": 844}}),
    "kiosk": ("/?kiosk&board=daily", {"color_scheme": "dark", "viewport": {"width": 1600, "height": 900}}),
}


async def main() -> None:
    """Starts a mesh, lets people play, takes the pictures, and leaves nothing else behind."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        mesh = new_mesh(Path(folder) / "mesh")
        await mesh.up("--updates-per-minute", "600")
        try:
            ids = await populate(mesh)
            async with chromium() as browser:
                for name, (path, options) in PICTURES.items():
                    await take(browser, mesh, ids, name, path, options)
        finally:
            await mesh.kill()


async def populate(mesh: Mesh) -> list[str]:
    """Adds people with scores of their own; returns their ids."""
    chance = random.Random(7)  # the same picture each time
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    ids = await add_players(mesh, chance.sample(names, PLAYERS))
    await report(mesh, [(user, "match-result", chance.randint(10, 480)) for user in ids])
    return ids


async def take(browser: Browser, mesh: Mesh, ids: list[str], name: str, path: str, options: dict[str, Any]) -> None:
    """Takes one picture, while somebody plays and others move."""
    async with profile(browser, mesh.url, **options) as person:
        page = await person.visit(path)
        await page.locator(".row").first.wait_for()
        if "kiosk" not in path:
            await join(page, name)
        await asyncio.sleep(1.6)  # until rows that come count as new
        await report(mesh, [(user, "win-round", None) for user in random.Random(name).sample(ids, 6)])
        await asyncio.sleep(1.5)  # the glides' end
        await page.screenshot(path=OUT / f"{name}.png")


async def join(page: Page, name: str) -> None:
    """Signs up and scores; the first is refused something, too."""
    await page.get_by_role("button", name="Sign up").click()
    await page.get_by_label("Name").fill(OWN[name])
    await page.get_by_label("Password").fill(secrets.token_hex(8))
    await page.get_by_role("button", name="Sign up").click()
    for action in ["daily-bonus", *["win-round"] * 7, *(["daily-bonus"] if name == "light" else ["collect-coin"])]:
        await page.locator(f'[data-action="{action}"]').click()
        await page.locator('.told[aria-busy="false"]').wait_for()
    await page.mouse.move(5, 5)


if __name__ == "__main__":
    asyncio.run(main())
