"""auth_svc/bucket.py and address.py: how many attempts fit, and whose they are."""

from __future__ import annotations

import pytest

from auth_svc.address import UNKNOWN, client_address
from auth_svc.bucket import Limit, give_back, take

TWENTY_A_MINUTE = Limit(interval_s=3.0, burst=60)


def test_a_burst_fits_and_no_more() -> None:
    empty_at = 0.0
    for _ in range(60):
        empty_at, wait_s = take(empty_at, 1000.0, TWENTY_A_MINUTE)
        assert wait_s == 0
    unchanged, wait_s = take(empty_at, 1000.0, TWENTY_A_MINUTE)
    assert unchanged == empty_at
    assert wait_s == pytest.approx(3.0)


def test_after_the_burst_one_fits_each_interval() -> None:
    empty_at, taken = 0.0, 0
    for tenth in range(6_000):  # ten minutes
        empty_at, wait_s = take(empty_at, 1000.0 + tenth / 10, TWENTY_A_MINUTE)
        taken += wait_s == 0
    assert taken == 60 + 199


def test_waiting_as_long_as_was_said_is_enough() -> None:
    empty_at, now = 1000.0 + 60 * 3.0, 1000.5
    _, wait_s = take(empty_at, now, TWENTY_A_MINUTE)
    assert wait_s > 0
    assert take(empty_at, now + wait_s, TWENTY_A_MINUTE)[1] == 0


def test_what_is_given_back_did_not_count() -> None:
    empty_at, _ = take(0.0, 1000.0, TWENTY_A_MINUTE)
    empty_at, _ = take(empty_at, 1000.0, TWENTY_A_MINUTE)
    assert give_back(empty_at, TWENTY_A_MINUTE) == take(0.0, 1000.0, TWENTY_A_MINUTE)[0]


@pytest.mark.parametrize(
    ("forwarded_for", "hops", "address"),
    [
        ("198.51.100.7", 0, "198.51.100.7"),
        ("1.2.3.4, 198.51.100.7", 0, "198.51.100.7"),  # the left one is what the client wrote
        ("1.2.3.4,198.51.100.7 , 10.0.0.1", 1, "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", 0, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", 0, "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", 0, "198.51.100.7"),
        (None, 0, UNKNOWN),
        ("", 0, UNKNOWN),
        ("198.51.100.7", 1, UNKNOWN),
        ("localhost", 0, UNKNOWN),
        ("198.51.100.7:443", 0, UNKNOWN),
        ("\udcff", 0, UNKNOWN),
    ],
)
def test_whose_attempt_it_is(forwarded_for: str | None, hops: int, address: str) -> None:
    assert client_address(forwarded_for, hops) == address
