"""score_svc as a process, with a worker behind it: nonces, signatures, what is refused, and what a retry meets."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from board import keys
from board.job_pb2 import Job
from mesh.keys import b64url
from score_svc.accept import Asked
from score_svc.nonce import issue
from scoreboard.client import ScoreboardError
from scoreboard.v1 import score_pb2 as pb
from scoreboard.v1 import signing
from tests.scoring import (
    Player,
    Scoring,
    answered,
    module_world,
    new_nonce,
    refused,
    update_id_of,
)
from tests.sizes import SHARING, Record, sized
from tests.waiting import SCALE, eventually

NEVER = "01998c2a-5e1b-7c3d-9e4f-0123456789ab"  # an id of no update
some = settings(max_examples=sized(60, 300), suppress_health_check=SHARING)


world = module_world()


async def test_an_update_counts_and_is_answered_with_the_score(world: Scoring) -> None:
    player = await world.player()
    nonce = new_nonce()
    first = await world.update(player, nonce=nonce)
    assert first == pb.UpdateScoreResponse(
        success=True,
        new_score=50,
        username=f"Name of {player.user_id}",
        update_id=str(update_id_of(player, nonce)),
        status=pb.APPLIED,
        points=50,
    )
    assert (await world.update(player, "lose-round")).new_score == 30


async def test_issued_nonces_count_too(world: Scoring) -> None:
    player = await world.player()
    issued = await world.issue(player)
    assert (len(issued.nonces), issued.expires_at[-1]) == (0, "Z")
    assert (await world.update(player, nonce=issued.nonce)).new_score == 50
    many = await world.issue(player, count=50)
    assert len({*many.nonces}) == 50
    assert many.nonces[0] == many.nonce
    answers = await asyncio.gather(*(world.update(player, nonce=nonce) for nonce in many.nonces))
    assert max(answer.new_score for answer in answers) == 51 * 50


@pytest.mark.parametrize("count", [0, 51, 4_000_000_000])
async def test_nonces_come_1_to_50_at_once(world: Scoring, count: int) -> None:
    player = await world.player()
    assert await world.refusal(world.issue(player, count=count)) == "INVALID_ARGUMENT"


async def test_nonces_are_issued_for_actions_that_the_player_may_report(world: Scoring) -> None:
    player = await world.player()
    assert await world.refusal(world.issue(player, "no-such")) == "UNKNOWN_ACTION"
    assert await world.refusal(world.issue(player, "match-result")) == "SERVER_ONLY_ACTION"
    assert await world.refusal(world.issue(player, "")) == "INVALID_ARGUMENT"


@pytest.mark.promise(row=23)
@pytest.mark.parametrize("form", ["client", "issued"])
async def test_a_nonce_sent_a_hundred_times_at_once_has_one_effect(
    world: Scoring, form: str, record_property: Record
) -> None:
    player, count = await world.player(), sized(10, 500)  # and as many of the other form
    async with world.service() as other:
        for _ in range(count // 10):
            if form == "client":
                nonces = [new_nonce() for _ in range(10)]
            else:
                nonces = list((await world.issue(player, count=10)).nonces)
            calls = [world.update(player, nonce=n, stub=stub) for n in nonces for stub in 50 * (world.stub, other)]
            by_update: dict[str, set[bytes]] = {}
            for answer in await asyncio.gather(*calls):
                if answer.status == pb.PENDING:
                    answer = await until_settled(world, player, answer.update_id)
                assert (answer.status, answer.points) == (pb.APPLIED, 50)
                by_update.setdefault(answer.update_id, set()).add(answer.SerializeToString(deterministic=True))
            assert [len(different) for different in by_update.values()] == [1] * 10
    assert len(await world.rows(player)) == count
    assert (await world.bench.scores())[player.user_id] == count * 50
    record_property("updates", count)


async def refusals(world: Scoring, player: Player, eve: Player) -> dict[str, tuple[str, Any]]:
    """What must be refused of a player whose nonce and signature another has seen: reason, call."""
    issued = (await world.issue(player)).nonce
    bare = new_nonce()
    expired = new_nonce(age_s=301)
    long_ago_ms = int(time.time() * 1000) - 301_000
    issued_long_ago = issue(world.issuer.keys, player.user_id, "win-round", long_ago_ms, os.urandom(10))
    forged = b64url(b"\x00\x01" + signing.uuid7(int(time.time() * 1000), os.urandom(10)) + os.urandom(38))
    request = pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=bare)

    def send(metadata: Any, **fields: str) -> Any:
        changed = pb.UpdateScoreRequest()
        changed.CopyFrom(request)
        changed.MergeFrom(pb.UpdateScoreRequest(**fields))  # type: ignore[arg-type]
        return world.send(changed, metadata)

    good = player.signed("win-round", bare)
    return {
        "another user": ("NOT_YOUR_SCORE", send(player.signed("win-round", bare, eve.user_id), user_id=eve.user_id)),
        "another action": ("SIGNATURE_INVALID", send(good, action_id="lose-round")),
        "another nonce": ("SIGNATURE_INVALID", send(good, nonce=new_nonce())),
        "expired": ("NONCE_EXPIRED", world.update(player, nonce=expired)),
        "issued and expired": ("NONCE_EXPIRED", world.update(player, nonce=issued_long_ago)),
        "too far ahead": ("NONCE_MALFORMED", world.update(player, nonce=new_nonce(age_s=-60))),
        "forged": ("NONCE_MISMATCH", world.update(player, nonce="s." + forged)),
        "issued for another action": ("NONCE_MISMATCH", world.update(player, "lose-round", issued)),
        "another's issued nonce": ("NONCE_MISMATCH", world.update(eve, nonce=issued)),
        "another's signed request": ("NOT_YOUR_SCORE", send((*eve.bearer, good[1]))),
        "a signature with another's token": (
            "SIGNATURE_INVALID",
            send((*world.session(player.user_id).bearer, good[1])),
        ),
        "no signature": ("SIGNATURE_MISSING", send(player.bearer)),
        "no token": ("TOKEN_MISSING", send((good[1],))),
        "a blank nonce": ("NONCE_MALFORMED", world.update(player, nonce=" ")),
        "a malformed nonce": ("NONCE_MALFORMED", world.update(player, nonce="c.AAAA")),
        "an unknown action": ("UNKNOWN_ACTION", world.update(player, "no-such")),
        "a server's action": ("SERVER_ONLY_ACTION", world.update(player, "match-result", value=100)),
        "points of one's own": ("INVALID_ARGUMENT", world.update(player, value=1e6)),
        "half a point": ("INVALID_ARGUMENT", world.update(player, value=0.5)),
        "not a number": ("INVALID_ARGUMENT", world.update(player, value=float("nan"))),
    }


@pytest.mark.promise(row=24)
async def test_a_nonce_is_bound_and_nothing_refused_is_queued(world: Scoring, record_property: Record) -> None:
    player, eve = await world.player(), await world.player()
    calls = await refusals(world, player, eve)
    for name, (reason, call) in calls.items():
        assert (name, await world.refusal(call)) == (name, reason)
    assert await claims_of(world, player, eve) == []
    # There is one worker, and it takes what is queued in order.
    assert (await world.update(player)).new_score == 50
    assert (await world.update(eve)).new_score == 50
    assert len(await world.rows(player)) == len(await world.rows(eve)) == 1
    record_property("updates", len(calls) + 2)


@pytest.mark.promise(row=24)
async def test_one_s_own_signature_makes_another_s_bare_nonce_one_s_own_update(
    world: Scoring, record_property: Record
) -> None:
    player, eve = await world.player(), await world.player()
    nonce = new_nonce()
    mine, hers = await world.update(player, nonce=nonce), await world.update(eve, nonce=nonce)
    assert mine.update_id != hers.update_id
    assert (mine.new_score, hers.new_score) == (50, 50)
    record_property("updates", 2)


async def test_checks_come_in_the_contract_s_order(world: Scoring) -> None:
    """Each request breaks every rule from its own on; the first broken one answers."""
    player = await world.player()
    stale = new_nonce(age_s=400)
    both = (*player.bearer, ("x-signature", "wrong"))
    steps: list[tuple[str, pb.UpdateScoreRequest, Any]] = [
        ("TOKEN_MISSING", pb.UpdateScoreRequest(), ()),
        ("INVALID_ARGUMENT", pb.UpdateScoreRequest(user_id="x" * 51, action_id="no", nonce="bad"), player.bearer),
        ("NOT_YOUR_SCORE", pb.UpdateScoreRequest(user_id="else", action_id="no", nonce="bad"), player.bearer),
        ("NONCE_MALFORMED", pb.UpdateScoreRequest(user_id=player.user_id, action_id="no", nonce="bad"), player.bearer),
        (
            "SIGNATURE_MISSING",
            pb.UpdateScoreRequest(user_id=player.user_id, action_id="no", nonce=stale),
            player.bearer,
        ),
        ("SIGNATURE_INVALID", pb.UpdateScoreRequest(user_id=player.user_id, action_id="no", nonce=stale), both),
        (
            "UNKNOWN_ACTION",
            pb.UpdateScoreRequest(user_id=player.user_id, action_id="no", nonce=stale),
            player.signed("no", stale),
        ),
        (
            "NONCE_EXPIRED",
            pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=stale),
            player.signed("win-round", stale),
        ),
    ]
    for reason, request, metadata in steps:
        assert await world.refusal(world.send(request, metadata)) == reason


@pytest.mark.parametrize("user_id", ["", "x" * 51, "a\nb"])
async def test_the_seed_s_sentence_stands_for_ids_that_are_missing_or_malformed(world: Scoring, user_id: str) -> None:
    player = await world.player()
    request = pb.UpdateScoreRequest(user_id=user_id, action_id="win-round", nonce=new_nonce())
    error = await refused(world.send(request, player.bearer))
    assert (error.reason, error.message) == ("INVALID_ARGUMENT", "The provided userId or actionId is not valid.")
    assert error.metadata["field"] == "user_id"


@pytest.mark.promise(row=26)
@some
@given(
    user_id=st.none() | st.text(max_size=60),
    action_id=st.sampled_from(["win-round", "lose-round", "coin"]) | st.text(max_size=60),
    nonce=st.none() | st.text(max_size=140),
    value=st.none() | st.floats(),
    signature=st.none() | st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=60),
)
async def test_whatever_the_fields_say_points_are_the_catalogue_s(
    world: Scoring,
    record_property: Record,
    user_id: str | None,
    action_id: str,
    nonce: str | None,
    value: float | None,
    signature: str | None,
) -> None:
    record_property("updates", 1)
    player = await world.player()
    text = new_nonce() if nonce is None else nonce
    request = pb.UpdateScoreRequest(
        user_id=player.user_id if user_id is None else user_id, action_id=action_id, nonce=text, value=value
    )
    metadata = player.signed(action_id, text) if signature is None else (*player.bearer, ("x-signature", signature))
    points = {"win-round": 50, "lose-round": -20, "coin": 1}
    answer = await maybe(world.send(request, metadata))
    if answer is None:
        assert await world.rows(player) == []
        return
    assert answer.points == answer.new_score == points[action_id]
    assert [row["score_change"] for row in await world.rows(player)] == [points[action_id]]


async def test_a_token_needs_the_scope_and_for_batches_the_role(world: Scoring) -> None:
    player = await world.player()
    token = world.issuer.token(player.user_id, sid=player.sid, scope="read:leaderboard")
    reader = Player(player.user_id, player.sid, token, player.key)
    for call in (world.update(reader), world.issue(reader), world.look_up(reader, str(uuid4()))):
        assert await world.refusal(call) == "SCOPE_MISSING"
    assert await world.refusal(world.batch(player, pb.UpdateScoreRequest())) == "SCOPE_MISSING"


async def test_an_ended_session_is_refused_and_claims_nothing(world: Scoring) -> None:
    player = await world.player()
    await world.bench.redis.set(keys.deny(player.sid), "1", ex=60)
    for call in (world.update(player), world.issue(player), world.look_up(player, str(uuid4()))):
        assert await world.refusal(call) == "SESSION_REVOKED"
    assert await claims_of(world, player) == []
    assert (await world.update(world.session(player.user_id))).new_score == 50


async def test_a_retry_after_a_new_login_is_a_retry(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    first = await world.update(player, nonce=nonce)
    assert await world.update(world.session(player.user_id), nonce=nonce) == first


@pytest.mark.promise(row=24)
async def test_a_claimed_nonce_for_another_action_is_reused(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    await world.update(player, nonce=nonce)
    assert await world.refusal(world.update(player, "lose-round", nonce)) == "NONCE_REUSED"
    assert len(await world.rows(player)) == 1


async def test_a_retry_finds_the_ledger_s_row_when_its_claim_has_no_result(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    first = await world.update(player, nonce=nonce)
    await world.bench.redis.hdel(keys.claim(update_id_of(player, nonce)), "result")
    assert await world.update(player, nonce=nonce) == first


async def test_a_kept_result_that_cannot_be_read_is_none(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    first = await world.update(player, nonce=nonce)
    claim = keys.claim(update_id_of(player, nonce))
    await world.bench.redis.hset(claim, "result", b"\xff")
    others = [world.update(await world.player()) for _ in range(20)]
    again, *answers = await asyncio.gather(world.update(player, nonce=nonce), *others)
    assert again == first
    assert {answer.new_score for answer in answers} == {50}
    await world.bench.redis.hset(claim, "result", b"\xff")
    assert await world.look_up(player, first.update_id) == first


async def test_a_claim_that_was_never_published_is_published_with_its_stamp(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    update_id, at_us = update_id_of(player, nonce), time.time_ns() // 1000 - 5_000_000
    digest = Asked(update_id, player.user_id, "win-round", nonce, player.user_id, "", 0, 0).digest()
    claim: dict[Any, Any] = {"digest": digest, "at": str(at_us), "by": player.user_id}
    await world.bench.redis.hset(keys.claim(update_id), mapping=claim)
    assert (await world.update(player, nonce=nonce)).new_score == 50
    (row,) = await world.rows(player)
    assert int(row["accepted_at"].timestamp() * 1e6) == pytest.approx(at_us, abs=1)


async def test_an_expired_nonce_gets_its_row_and_without_one_the_truth(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce(age_s=400)
    assert await world.refusal(world.update(player, nonce=nonce)) == "NONCE_EXPIRED"
    job = world.bench.job(player.user_id)
    job.update_id = update_id_of(player, nonce).bytes
    await world.bench.send(job)
    await world.bench.answers([job])
    answer = await world.update(player, nonce=nonce)
    assert (answer.status, answer.new_score) == (pb.APPLIED, 50)
    assert await world.refusal(world.update(player, "lose-round", nonce)) == "NONCE_REUSED"


async def test_an_old_nonce_that_counted_is_answered_from_the_ledger_without_a_claim(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce(age_s=60)
    first = await world.update(player, nonce=nonce)
    await world.bench.redis.delete(keys.claim(update_id_of(player, nonce)))
    assert await world.update(player, nonce=nonce) == first
    assert await claims_of(world, player) == []


async def test_a_banned_player_is_refused(world: Scoring) -> None:
    player = await world.player()
    await world.bench.pool.execute("UPDATE users SET state = 1 WHERE user_id = $1", player.user_id)
    assert await world.refusal(world.update(player)) == "BANNED"


async def test_a_capped_action_is_refused_with_the_time_of_its_next_window(world: Scoring) -> None:
    player, nonce = await world.player(), new_nonce()
    await world.update(player, "daily-bonus")
    error = await refused(world.update(player, "daily-bonus", nonce))
    assert (error.reason, error.code) == ("CAP_REACHED", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert error.retry_after_s is not None
    assert 1 <= error.retry_after_s <= 86_400
    told = await world.look_up(player, str(update_id_of(player, nonce)))
    assert (told.status, told.reason, told.success) == (pb.REFUSED, "CAP_REACHED", False)


async def test_an_update_can_be_looked_up_by_its_player_alone(world: Scoring) -> None:
    player, eve = await world.player(), await world.player()
    sent = await world.update(player)
    assert await world.look_up(player, sent.update_id) == sent
    assert await world.refusal(world.look_up(eve, sent.update_id)) == "NOT_FOUND"


@pytest.mark.parametrize("update_id", ["", "x", NEVER, "0" * 32, "g" * 36, "{" + NEVER + "}"])
async def test_what_was_never_recorded_is_not_found(world: Scoring, update_id: str) -> None:
    assert await world.refusal(world.look_up(await world.player(), update_id)) == "NOT_FOUND"


async def test_a_parked_update_is_told_as_such(world: Scoring) -> None:
    player, eve, nonce = await world.player(), await world.player(), new_nonce()
    update_id = update_id_of(player, nonce)
    job = Job(update_id=update_id.bytes, kind="update", user_id=player.user_id, action_id="win-round")
    await world.bench.pool.execute(
        "INSERT INTO dead_letters (update_id, job, reason, attempts) VALUES ($1, $2, 'TOO_OLD', 1)",
        update_id,
        job.SerializeToString(),
    )
    told = await world.look_up(player, str(update_id))
    assert (told.status, told.reason, told.success) == (pb.PARKED, "TOO_OLD", False)
    assert await world.refusal(world.look_up(eve, str(update_id))) == "NOT_FOUND"


async def test_only_issued_nonces_where_the_deployment_says_so(world: Scoring) -> None:
    player = await world.player()
    async with world.service(score_client_nonces="false") as stub:
        nonce = new_nonce()
        request = pb.UpdateScoreRequest(user_id=player.user_id, action_id="win-round", nonce=nonce)
        call = answered(stub.UpdateScore(request, metadata=player.signed("win-round", nonce)))
        assert await world.refusal(call) == "NONCE_MALFORMED"
        issued = (await world.issue(player)).nonce
        request.nonce = issued
        answer = await stub.UpdateScore(request, metadata=player.signed("win-round", issued))
        assert answer.new_score == 50


async def test_an_action_that_was_just_made_is_found(world: Scoring) -> None:
    player, name = await world.player(), f"new-{uuid4().hex[:8]}"
    assert await world.refusal(world.update(player, name)) == "UNKNOWN_ACTION"
    await world.bench.pool.execute(
        "INSERT INTO actions (action_id, points, revision) SELECT $1, 7, max(revision) FROM actions", name
    )
    assert (await world.issue(player, name)).nonce


async def test_unknown_actions_cost_the_database_few_looks(world: Scoring) -> None:
    player = await world.player()
    started = time.monotonic()
    reasons = await asyncio.gather(*(world.refusal(world.issue(player, f"no-{n}")) for n in range(200)))
    assert set(reasons) == {"UNKNOWN_ACTION"}
    assert time.monotonic() - started < 5 * SCALE  # one by one with a pause each they would take 40 s


async def maybe(call: Awaitable[pb.UpdateScoreResponse]) -> pb.UpdateScoreResponse | None:
    """The answer, or None for a refusal that names its reason; any other end fails."""
    try:
        return await call
    except ScoreboardError as e:
        reason = e.reason
    assert reason not in ("", "INTERNAL")
    return None


async def until_settled(world: Scoring, player: Player, update_id: str) -> pb.UpdateScoreResponse:
    async def is_settled() -> pb.UpdateScoreResponse | None:
        told = await world.look_up(player, update_id)
        return None if told.status == pb.PENDING else told

    found = await eventually(is_settled, 20, "the outcome")
    assert found is not None
    return found


async def claims_of(world: Scoring, *players: Player) -> list[str]:
    """Keys of the claims that these players hold."""
    names = {player.user_id.encode() for player in players}
    found = []
    async for key in world.bench.redis.scan_iter("sb:claim:*", count=1000):
        if await world.bench.redis.hget(key, "by") in names:
            found.append(key.decode())
    return found


async def test_it_says_what_is_wrong_with_a_setting(world: Scoring, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        ".venv/bin/python",
        "-m",
        "score_svc",
        env={**world.environment, "SCOREBOARD_SCORE_PORT": "70000", "SCOREBOARD_UPDATES_PER_MINUTE": "-1"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"SCOREBOARD_SCORE_PORT=70000" in errors
    assert b"SCOREBOARD_UPDATES_PER_MINUTE=-1" in errors
