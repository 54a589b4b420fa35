"""auth_svc/rotation.py: which key signs, which are published, when the next one is due; years of it in a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from auth_svc.rotation import CLOCK_SKEW_S, JWKS_CACHE_S, PUBLISH_AHEAD, KeyTimes, Schedule, signer

T0 = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY_S = 86_400
SCHEDULE = Schedule(key_life_s=30 * DAY_S, token_life_s=600)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def key(kid: str, publish: float, sign: float, retire: float | None = None, *, can_sign: bool = True) -> KeyTimes:
    return KeyTimes(kid, after(publish), after(sign), None if retire is None else after(retire), can_sign=can_sign)


def test_the_first_key_signs_at_once() -> None:
    sign_from = SCHEDULE.next_sign_from([], T0)
    assert sign_from is not None
    assert sign_from <= T0


def test_no_key_is_due_while_one_is_young() -> None:
    assert SCHEDULE.next_sign_from([key("a", 0, 0)], after(29 * DAY_S)) is None


def test_the_next_key_is_published_before_it_signs() -> None:
    now = after(30 * DAY_S)
    assert SCHEDULE.next_sign_from([key("a", 0, 0)], now) == now + PUBLISH_AHEAD
    assert timedelta(seconds=JWKS_CACHE_S + CLOCK_SKEW_S) <= PUBLISH_AHEAD


def test_a_key_that_waits_to_sign_is_enough() -> None:
    waiting = [key("a", 0, 0), key("b", 30 * DAY_S, 30 * DAY_S + 90)]
    assert SCHEDULE.next_sign_from(waiting, after(30 * DAY_S + 1)) is None


@pytest.mark.parametrize(
    ("seconds", "kid"),
    [(0, "a"), (89, "a"), (90, "b"), (1000, "b")],
)
def test_the_newest_key_whose_time_has_come_signs(seconds: float, kid: str) -> None:
    chosen = signer([key("a", -100, -100, 1000), key("b", 0, 90)], after(seconds))
    assert chosen is not None
    assert chosen.kid == kid


def test_a_key_that_cannot_be_unwrapped_does_not_sign_and_is_replaced_at_once() -> None:
    keys = [key("a", 0, 0, can_sign=False)]
    assert signer(keys, after(10)) is None
    sign_from = SCHEDULE.next_sign_from(keys, after(10))
    assert sign_from is not None
    assert sign_from <= after(10)
    assert keys[0].is_published(after(10))  # other instances may sign with it


@pytest.mark.promise(row=30)
def test_every_token_is_good_at_every_verifier_for_its_whole_life() -> None:
    """Walks through three rotations: whatever signed, any list that a verifier may still show has its key."""
    schedule = Schedule(key_life_s=1800, token_life_s=600)
    keys: list[KeyTimes] = []
    history: list[tuple[float, set[str]]] = []
    tokens: list[tuple[float, str]] = []
    for second in range(0, 6000, 5):
        now = after(second)
        sign_from = schedule.next_sign_from(keys, now)
        if sign_from is not None:
            kid = f"k{len(keys)}"
            retire_at = schedule.retire_at(sign_from)
            keys = [
                KeyTimes(k.kid, k.publish_from, k.sign_from, k.retire_at or retire_at, can_sign=k.can_sign)
                for k in keys
            ]
            keys.append(KeyTimes(kid, min(now, sign_from), sign_from, None))
        chosen = signer(keys, now)
        assert chosen is not None
        tokens.append((second, chosen.kid))
        history.append((second, {k.kid for k in keys if k.is_published(now)}))
        assert len(history[-1][1]) <= 2
    assert {kid for _, kid in tokens} == {"k0", "k1", "k2", "k3"}
    for issued, kid in tokens:
        # The list that is looked at may be a whole life of the cache old; the first key has nothing older to meet.
        first = max(0, issued - JWKS_CACHE_S)
        last = min(6000, issued + schedule.token_life_s + CLOCK_SKEW_S)
        assert all(kid in shown for second, shown in history if first <= second < last), (issued, kid)
