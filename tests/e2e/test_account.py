"""Guests, profiles, erasure and token exchange at a whole mesh, through the gateway as browsers and studios call it."""

from __future__ import annotations

import secrets
from typing import Any

import httpx

from scoreboard.v1 import auth_pb2, leaderboard_pb2
from tests.e2e.players import PASSWORD, Player
from tests.e2e.protocols import Protocols
from tests.studios import Studio

NEW_PASSWORD = "a new password"


def good(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def player_of(body: dict[str, Any], name: str = "") -> Player:
    fields = {field.name: body[field.name] for field in auth_pb2.Session.DESCRIPTOR.fields}
    return Player(name, auth_pb2.Session(**fields))


async def play(mesh: Protocols, player: Player) -> Any:
    request = player.update()
    said = await mesh.call("json", "UpdateScore", request, player.signed(request))
    assert said.message is not None, said
    return said.message


async def shown(mesh: Protocols, player: Player) -> str:
    """The name that the board shows."""
    said = await mesh.call("json", "GetRank", leaderboard_pb2.GetRankRequest(user_id=player.session.user_id), {})
    return said.message.username if said.message is not None else said.reason


async def test_a_guest_plays_takes_a_name_becomes_an_account_and_leaves(mesh: Protocols) -> None:
    name = f"G-{secrets.token_hex(6)}"
    guest = player_of(good(await mesh.http.post("/api/auth/guest", json={})))
    assert (await play(mesh, guest)).username.startswith("Guest ")
    profile = {"user_id": guest.session.user_id, "username": name}
    changed = await mesh.http.patch("/api/auth/profile", json={"username": name}, headers=guest.bearer)
    assert good(changed) == profile
    assert await shown(mesh, guest) == name
    account = {"username": name, "newPassword": NEW_PASSWORD}
    for _ in range(2):
        assert good(await mesh.http.patch("/api/auth/profile", json=account, headers=guest.bearer)) == profile
    credentials = {"username": name, "password": NEW_PASSWORD}
    login = player_of(good(await mesh.http.post("/api/auth/login", json=credentials)))
    assert (await play(mesh, login)).new_score == 100
    for _ in range(2):
        gone = await mesh.http.post("/api/auth/delete", json={"password": NEW_PASSWORD}, headers=guest.bearer)
        assert good(gone) == {"success": True}
    assert await shown(mesh, guest) == "UNKNOWN_USER"
    # Both sessions are over, and the name is free.
    for stolen in (guest, login):
        request = stolen.update()
        assert (await mesh.call("json", "UpdateScore", request, stolen.signed(request))).reason == "SESSION_REVOKED"
    again = await mesh.http.post("/api/auth/register", json={"username": name, "password": PASSWORD})
    assert good(again)["user_id"] != guest.session.user_id


async def test_a_browser_may_ask_to_change_a_profile(mesh: Protocols) -> None:
    origin = str(mesh.http.base_url).rstrip("/")
    headers = {
        "origin": origin,
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = await mesh.http.options("/api/auth/profile", headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert "PATCH" in answer.headers["access-control-allow-methods"]


async def test_a_studios_player_signs_in_by_the_studios_token_and_plays(mesh: Protocols, studio: Studio) -> None:
    subject = f"studio-{secrets.token_hex(6)}"
    form = studio.form(subject, name="Stella of the Studio")
    first = good(await mesh.http.post("/oauth2/token", data=form))
    assert (first["user_id"], first["token_type"]) == (subject, "Bearer")
    assert first["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    player = player_of(first)
    assert (await play(mesh, player)).new_score == 50
    assert await shown(mesh, player) == "Stella of the Studio"
    again = player_of(good(await mesh.http.post("/oauth2/token", data=form)))
    assert (await play(mesh, again)).new_score == 100
    metadata = good(await mesh.http.get("/.well-known/oauth-authorization-server"))
    assert form["grant_type"] in metadata["grant_types_supported"]
    expired = await mesh.http.post("/oauth2/token", data=studio.form(subject, exp=1))
    assert (expired.status_code, expired.json()["error"]) == (400, "invalid_grant")
