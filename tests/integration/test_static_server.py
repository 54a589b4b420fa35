"""The static server by itself: files that exist, and nothing else; what browsers are told about them."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from scoreboard.local.nginx import REFERENCE, nginx
from scoreboard.local.ports import Ports
from scoreboard.local.program import Running
from scoreboard.local.trouble import Trouble
from tests import servers

SCRIPT = "console.log('a board')\n" * 100


@dataclass(frozen=True)
class Static:
    running: Running
    page: Path
    http: httpx.AsyncClient


@pytest.fixture(scope="module")
async def static(servers_folder: Path) -> AsyncIterator[Static]:
    """nginx with a page of our own."""
    folder = servers_folder / "static"
    page = folder / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>Board</title>")
    (page / "assets" / "app-BxYz12ab.js").write_text(SCRIPT)
    (page / "assets" / "app-BxYz12ab.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (page / ".secret").write_text("secret")
    (folder / "outside.txt").write_text("outside")
    (page / "link.txt").symlink_to(folder / "outside.txt")
    ports = Ports()
    port = ports.take("nginx")
    running = await servers.run(nginx(folder, port, page), ports, folder)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            yield Static(running, page, http)
    finally:
        await running.kill()


async def test_files_are_served_with_their_type(static: Static) -> None:
    types = {
        "/": "text/html; charset=utf-8",
        "/index.html": "text/html; charset=utf-8",
        "/assets/app-BxYz12ab.js": "application/javascript; charset=utf-8",
        "/openapi.json": "application/json",
        "/docs": "text/html; charset=utf-8",
        "/docs/": "text/html; charset=utf-8",
        "/docs/style.css": "text/css; charset=utf-8",
    }
    answers = await asyncio.gather(*map(static.http.get, types))
    assert {answer.url.path: answer.headers["content-type"] for answer in answers} == types
    assert {answer.status_code for answer in answers} == {200}
    assert answers[3].content == (REFERENCE / "openapi.json").read_bytes()


NOT_THERE = [
    "/nope",
    "/assets",
    "/assets/",
    "/assets/nope.js",
    "/docs/nope",
    "/.secret",
    "/.nothing",
    "/link.txt",
    "/nginx.conf",
    "/reference/openapi.json",
    "/board/daily",
]


@pytest.mark.parametrize("path", NOT_THERE)
async def test_what_is_no_file_is_404_and_never_a_page(static: Static, path: str) -> None:
    answer = await static.http.get(path)
    assert (answer.status_code, answer.json()["reason"]) == (404, "NOT_FOUND")
    assert answer.headers["cache-control"] == "no-cache", "a deployment may bring it in a second"


@pytest.mark.parametrize("path", ["/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/assets/..%2f..%2f.."])
async def test_ways_out_of_the_folder_lead_nowhere(static: Static, path: str) -> None:
    answer = await static.http.get(httpx.URL(str(static.http.base_url)).copy_with(raw_path=path.encode()))
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_nothing_is_written(static: Static, method: str) -> None:
    assert (await static.http.request(method, "/index.html", content="x")).status_code == 404


async def test_named_by_content_is_kept_for_a_year_and_the_rest_asked_for_anew(static: Static) -> None:
    script = await static.http.get("/assets/app-BxYz12ab.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    for path in ("/", "/index.html", "/docs", "/openapi.json"):
        answer = await static.http.get(path)
        assert answer.headers["cache-control"] == "no-cache"
        again = await static.http.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_what_the_build_compressed_is_sent_so(static: Static) -> None:
    packed = await static.http.get("/assets/app-BxYz12ab.js")
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert int(packed.headers["content-length"]) == (static.page / "assets/app-BxYz12ab.js.gz").stat().st_size
    plain = await static.http.get("/assets/app-BxYz12ab.js", headers={"accept-encoding": "identity"})
    assert packed.text == plain.text == SCRIPT


async def test_browsers_are_told_to_be_strict(static: Static) -> None:
    for path in ("/", "/docs", "/nope", "/assets/app-BxYz12ab.js"):
        headers = (await static.http.get(path)).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert "script-src" not in policy or path != "/docs", "the reference page needs no script"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"


async def test_only_who_came_by_tls_is_bound_to_it(static: Static) -> None:
    assert "strict-transport-security" not in (await static.http.get("/")).headers
    by_tls = await static.http.get("/", headers={"x-forwarded-proto": "https"})
    assert by_tls.headers["strict-transport-security"].startswith("max-age=31536000")


async def test_it_is_one_process_without_our_rights(static: Static) -> None:
    process = psutil.Process(static.running.pid)
    assert (process.name(), process.children()) == ("nginx", [])
    assert process.uids().effective != 0 or os.geteuid() != 0


def test_a_page_that_was_never_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match=r"index\.html is missing"):
        nginx(tmp_path, 1, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has an account for it, and files to give away")
def test_what_its_account_left_behind_gives_it_no_file_of_ours(static: Static, tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    (tmp_path / "nginx").mkdir(mode=0o700)
    ours = tmp_path / "ours"
    ours.write_text("a secret")
    for name in ("body", "nginx.conf", "nginx.conf.new"):
        (tmp_path / "nginx" / name).symlink_to(ours)
    program = nginx(tmp_path, 1, static.page)
    assert (ours.stat().st_uid, ours.read_text()) == (0, "a secret")
    configuration = Path(program.argv[program.argv.index("-c") + 1])
    assert configuration.parent.stat().st_uid == 0, "its account could put a link under our pen"
