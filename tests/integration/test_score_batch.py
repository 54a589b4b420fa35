"""UpdateScores: what trusted clients send, item by item, with a worker behind it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreboard.v1 import score_pb2 as pb
from tests.scoring import Player, Scoring, module_world, new_nonce, update_id_of
from tests.sizes import SHARING, Record, sized
from tests.waiting import eventually

some = settings(max_examples=20, suppress_health_check=SHARING)
more = settings(some, max_examples=sized(40, 300))


world = module_world()


def item(player: Player, action_id: str = "win-round", nonce: str | None = None, **fields: Any) -> Any:
    return pb.UpdateScoreRequest(
        user_id=player.user_id, action_id=action_id, nonce=new_nonce() if nonce is None else nonce, **fields
    )


def told(results: list[pb.UpdateScoreResponse]) -> list[tuple[str, str]]:
    return [(pb.UpdateStatus.Name(result.status), result.reason) for result in results]


async def test_each_item_has_its_own_outcome_in_the_order_asked(world: Scoring) -> None:
    client, ada, bo = await world.client(), await world.player(), await world.player()
    ghost = await world.player(is_known=False)
    issued = (await world.issue(ada)).nonce
    results = await world.batch(
        client,
        item(ada),
        item(ada, nonce=""),
        item(ada, nonce=issued),
        item(ada, "no-such"),
        item(bo, "match-result", value=321),
        item(bo, "match-result", value=9),
        item(bo, "match-result", value=501),
        item(bo, "match-result"),
        item(bo, "match-result", value=20.5),
        item(bo, value=1),
        item(ghost),
        item(Player("x" * 51, "", "", b"")),
        item(ada, nonce=new_nonce(age_s=400)),
        item(ada, nonce=new_nonce(age_s=-60)),
        item(bo, "daily-bonus"),
        item(bo, "daily-bonus"),
    )
    assert told(results) == [
        ("APPLIED", ""),
        ("REFUSED", "INVALID_ARGUMENT"),
        ("REFUSED", "NONCE_MALFORMED"),
        ("REFUSED", "UNKNOWN_ACTION"),
        ("APPLIED", ""),
        ("REFUSED", "INVALID_ARGUMENT"),
        ("REFUSED", "INVALID_ARGUMENT"),
        ("REFUSED", "INVALID_ARGUMENT"),
        ("REFUSED", "INVALID_ARGUMENT"),
        ("REFUSED", "INVALID_ARGUMENT"),
        ("REFUSED", "UNKNOWN_USER"),
        ("REFUSED", "INVALID_ARGUMENT"),
        ("REFUSED", "NONCE_EXPIRED"),
        ("REFUSED", "NONCE_MALFORMED"),
        ("APPLIED", ""),
        ("REFUSED", "CAP_REACHED"),
    ]
    assert [result.success for result in results] == [status == "APPLIED" for status, _ in told(results)]
    assert (results[0].new_score, results[4].points) == (50, 321)
    assert (await world.bench.scores())[bo.user_id] == 421
    assert {row["reporter"] for row in await world.rows(bo)} == {client.user_id}


async def test_five_hundred_updates_of_one_player_come_back_in_order(world: Scoring) -> None:
    client, player = await world.client(), await world.player()
    updates = [item(player, "match-result", value=10 + n % 7) for n in range(500)]
    results = await world.batch(client, *updates)
    assert [result.points for result in results] == [10 + n % 7 for n in range(500)]
    assert len({result.update_id for result in results}) == 500
    assert (await world.bench.scores())[player.user_id] == sum(10 + n % 7 for n in range(500))


async def test_a_batch_sent_again_gets_the_same_answer_and_counts_once(world: Scoring) -> None:
    client, player = await world.client(), await world.player()
    updates = [item(player) for _ in range(20)]
    answers = await asyncio.gather(*(world.batch(client, *updates) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert await world.batch(client, *updates) == answers[0]
    assert len(await world.rows(player)) == 20


async def test_a_nonce_twice_in_one_batch_counts_once(world: Scoring) -> None:
    client, player, nonce = await world.client(), await world.player(), new_nonce()
    results = await world.batch(
        client, item(player, nonce=nonce), item(player, nonce=nonce), item(player, "coin", nonce)
    )
    assert told(results) == [("APPLIED", ""), ("APPLIED", ""), ("REFUSED", "NONCE_REUSED")]
    assert results[0] == results[1]
    assert len(await world.rows(player)) == 1


async def test_two_clients_and_the_player_may_use_the_same_nonce(world: Scoring) -> None:
    one, two, player, nonce = await world.client(), await world.client(), await world.player(), new_nonce()
    await world.batch(one, item(player, nonce=nonce))
    await world.batch(two, item(player, nonce=nonce))
    assert (await world.update(player, nonce=nonce)).new_score == 150


async def test_a_client_reports_its_own_actions_alone(world: Scoring) -> None:
    client, player = await world.client(actions=["coin"]), await world.player()
    results = await world.batch(client, item(player), item(player, "coin"))
    assert told(results) == [("REFUSED", "SCOPE_MISSING"), ("APPLIED", "")]


async def test_a_client_has_its_own_rate_and_a_retry_costs_none_of_it(world: Scoring) -> None:
    client, player = await world.client(rate=30), await world.player()
    updates = [item(player) for _ in range(50)]
    results = await world.batch(client, *updates)
    assert told(results) == [("APPLIED", "")] * 30 + [("REFUSED", "RATE_LIMITED")] * 20
    assert await world.batch(client, *updates[:30]) == results[:30]

    async def are_all_applied() -> bool:
        return told(await world.batch(client, *updates)) == [("APPLIED", "")] * 50

    await eventually(are_all_applied, 10, "the rest, a second later")
    assert len(await world.rows(player)) == 50


async def test_the_player_s_own_rate_is_not_the_client_s(world: Scoring) -> None:
    client, player = await world.client(), await world.player()
    async with world.service(updates_per_minute=1):
        results = await world.batch(client, *(item(player) for _ in range(20)))
    assert told(results) == [("APPLIED", "")] * 20


@pytest.mark.parametrize("count", [0, 501])
async def test_a_batch_has_1_to_500_updates(world: Scoring, count: int) -> None:
    client, player = await world.client(), await world.player()
    call = world.batch(client, *(item(player) for _ in range(count)))
    assert await world.refusal(call) == "INVALID_ARGUMENT"
    assert await world.rows(player) == []


async def test_a_client_that_was_switched_off_is_refused(world: Scoring) -> None:
    client, player = await world.client(), await world.player()
    await world.batch(client, item(player))
    await world.bench.pool.execute("UPDATE clients SET disabled_at = now() WHERE client_id = $1", client.user_id)

    async def is_refused() -> bool:
        try:
            await world.batch(client, item(player))
        except Exception as error:
            return getattr(error, "reason", "") == "TOKEN_INVALID"
        return False

    await eventually(is_refused, 10, "the switch")


async def test_a_client_that_nobody_made_is_refused(world: Scoring) -> None:
    unknown = Player("server-x", "", world.issuer.token("server-x", role="game_server"), b"")
    assert await world.refusal(world.batch(unknown, item(await world.player()))) == "TOKEN_INVALID"


async def test_a_reporter_looks_up_what_it_reported_and_the_player_too(world: Scoring) -> None:
    client, other, player = await world.client(), await world.client(), await world.player()
    nonce = new_nonce()
    (sent,) = await world.batch(client, item(player, nonce=nonce))
    assert sent.update_id == str(update_id_of(player, nonce, reporter=client.user_id))
    assert await world.look_up(client, sent.update_id) == sent
    assert await world.look_up(player, sent.update_id) == sent
    assert await world.refusal(world.look_up(other, sent.update_id)) == "NOT_FOUND"


async def test_a_client_sends_no_single_updates(world: Scoring) -> None:
    client = await world.client()
    assert await world.refusal(world.update(client)) == "SIGNATURE_INVALID"


ITEMS = st.lists(
    st.builds(
        pb.UpdateScoreRequest,
        user_id=st.text(max_size=60),
        action_id=st.sampled_from(["win-round", "match-result"]) | st.text(max_size=60),
        nonce=st.text(max_size=140) | st.builds(new_nonce),
        value=st.none() | st.floats(),
    ),
    min_size=1,
    max_size=5,
)


@some
@given(ITEMS)
async def test_no_item_fails_the_batch_or_counts_for_a_player_that_is_none(
    world: Scoring, items: list[pb.UpdateScoreRequest]
) -> None:
    client = await world.client()
    results = await world.batch(client, *items)
    assert len(results) == len(items)
    assert {result.status for result in results} == {pb.REFUSED}
    assert not {result.reason for result in results} & {"", "INTERNAL"}
    assert await world.bench.pool.fetch("SELECT FROM score_logs WHERE reporter = $1", client.user_id) == []


@pytest.fixture(scope="module")
async def reporter(world: Scoring) -> Player:
    """A client that score_svc knows already, after its first call."""
    return await world.client()


POINTS = {"win-round": 50, "lose-round": -20, "coin": 1}


@pytest.mark.promise(row=26)
@more
@given(
    action_id=st.sampled_from([*POINTS, "match-result"]),
    value=st.none() | st.integers(-600, 600).map(float) | st.sampled_from([9.5, 10.0, 500.0, 500.5]) | st.floats(),
)
async def test_a_client_s_value_counts_in_its_action_s_range_alone(
    world: Scoring, reporter: Player, record_property: Record, action_id: str, value: float | None
) -> None:
    player = await world.player()
    (result,) = await world.batch(reporter, item(player, action_id, value=value))
    is_in_range = value is not None and value.is_integer() and 10 <= value <= 500
    wanted = POINTS.get(action_id) if value is None else value if is_in_range and action_id not in POINTS else None
    if wanted is None:
        assert told([result]) == [("REFUSED", "INVALID_ARGUMENT")]
        assert await world.rows(player) == []
    else:
        assert result.points == result.new_score == wanted
        assert [row["score_change"] for row in await world.rows(player)] == [wanted]
    record_property("updates", 1)


async def test_what_the_ledger_has_the_boards_have(world: Scoring) -> None:
    client, player = await world.client(), await world.player()
    await world.batch(client, *(item(player, "coin") for _ in range(10)), item(player, nonce=f"c.{uuid4()}"))
    await eventually(lambda: agrees(world), 10, "the view")


async def agrees(world: Scoring) -> bool:
    await world.bench.verified()
    return True
