"""board/update_id.py: the key of a ledger row."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from board.update_id import derive_update_id, first_id, time_ms

TEXT = st.text(alphabet=st.characters(exclude_characters="\n", codec="utf-8"), max_size=50)
ASKED = st.tuples(TEXT, TEXT, TEXT)
MS = st.integers(0, 2**48 - 1)


def _derive(ms: int, asked: tuple[str, str, str]) -> UUID:
    reporter, user_id, nonce = asked
    return derive_update_id(ms, reporter=reporter, user_id=user_id, nonce=nonce)


def test_an_id_is_time_and_digest_as_the_shell_computes_them() -> None:
    derived = derive_update_id(1795478400000, reporter="", user_id="player-1", nonce="c.nonce")
    # printf '\nplayer-1\nc.nonce' | sha256sum: fba9a3ea837101ff9645 …
    assert str(derived) == "01a20ada-2c00-7fba-a68f-aa0dc407fe59"


def _expected(ms: int, payload: bytes) -> UUID:
    bits = "".join(f"{byte:08b}" for byte in sha256(payload).digest())[:74]
    return UUID(int=int(f"{ms:048b}" + "0111" + bits[:12] + "10" + bits[12:], 2))


@given(ms=MS, asked=ASKED)
def test_an_id_is_a_uuid_of_version_7_that_carries_the_nonces_time(ms: int, asked: tuple[str, str, str]) -> None:
    derived = _derive(ms, asked)
    assert (derived.version, derived.variant) == (7, "specified in RFC 4122")
    assert time_ms(derived) == ms
    assert derived == _expected(ms, "\n".join(asked).encode())


@given(ms=MS, a=ASKED, b=ASKED)
def test_no_two_askers_players_or_nonces_share_an_id(ms: int, a: tuple[str, str, str], b: tuple[str, str, str]) -> None:
    assume(a != b)
    assert _derive(ms, a) != _derive(ms, b)


@given(ms=st.integers(0, 2**47), asked=ASKED)
def test_an_id_lies_in_the_partition_of_its_millisecond(ms: int, asked: tuple[str, str, str]) -> None:
    assume(ms < 253_402_300_799_000)
    instant, following = (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=n) for n in (ms, ms + 1))
    assert first_id(instant) <= _derive(ms, asked) < first_id(following)


def test_the_first_id_of_a_month_is_the_partitions_bound() -> None:
    assert str(first_id(datetime(2026, 11, 1, tzinfo=UTC))) == "01a19467-e800-7000-8000-000000000000"


@pytest.mark.parametrize("ms", [-1, 2**48])
def test_a_time_outside_48_bits_is_refused(ms: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        derive_update_id(ms, reporter="", user_id="a", nonce="b")
