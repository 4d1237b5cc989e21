"""How long whoever fails to sign in has to wait."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from kleash.collection.store import tables as t
from kleash.collection.store.throttle import SignInRefused, clear_tries, register_try

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def attempt(database, *, name="ann", address="192.0.2.1", seconds=0.0):
    with database.write() as connection:
        return register_try(connection, name=name, address=address, at=START + timedelta(seconds=seconds))


def wait_seconds(database, **circumstances):
    """Make an attempt and return how long it was told to wait: 0 if it was looked at."""
    try:
        attempt(database, **circumstances)
    except SignInRefused as refused:
        return refused.wait_seconds
    return 0


def test_waits_double_after_five_failures_up_to_a_quarter_of_an_hour(database):
    for _ in range(5):
        assert wait_seconds(database) == 0
    clock, waits = 0.0, []
    for _ in range(10):
        waits.append(wait_seconds(database, seconds=clock))
        assert wait_seconds(database, seconds=clock + waits[-1] - 0.5) == 0.5
        clock += waits[-1]
        assert wait_seconds(database, seconds=clock) == 0
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


def test_refusal_says_how_long_to_wait(database):
    for _ in range(5):
        attempt(database)
    with pytest.raises(SignInRefused, match=r"Too many failed sign-ins.*Try again in 5 seconds"):
        attempt(database)
    for number in range(5):
        attempt(database, seconds=1000 * (number + 1))
    with pytest.raises(SignInRefused, match="Try again in 3 minutes"):
        attempt(database, seconds=5000)


def test_attempts_that_were_refused_do_not_count(database):
    for _ in range(5):
        attempt(database)
    for _ in range(20):
        assert wait_seconds(database, seconds=1) == 4
    assert wait_seconds(database, seconds=5) == 0


def test_failures_are_forgotten_after_a_day(database):
    for _ in range(5):
        attempt(database)
    assert wait_seconds(database, seconds=1) == 4
    for _ in range(5):
        assert wait_seconds(database, seconds=24 * 3600 + 1) == 0


def test_other_names_and_addresses_are_not_affected(database):
    for _ in range(5):
        attempt(database)
    assert wait_seconds(database, name="ben") == 0
    assert wait_seconds(database, name="ben", address="198.51.100.7") == 0
    assert wait_seconds(database, address="198.51.100.7") == 5


def test_an_address_that_tries_a_hundred_names_has_to_wait(database):
    for number in range(100):
        assert wait_seconds(database, name=f"name {number}") == 0
    assert wait_seconds(database, name="another") == 5
    assert wait_seconds(database, name="another", address="192.0.2.2") == 0


def test_addresses_of_one_ipv6_network_count_as_one(database):
    for number in range(100):
        attempt(database, name=f"name {number}", address=f"2001:db8:0:1::{number:x}")
    assert wait_seconds(database, name="another", address="2001:db8:0:1:ffff::1") == 5
    assert wait_seconds(database, name="another", address="2001:db8:0:2::1") == 0


def test_success_clears_the_name_and_leaves_the_address(database):
    for number in range(96):
        attempt(database, name=f"name {number}")
    for _ in range(3):
        attempt(database)
    tried = attempt(database)
    with database.write() as connection:
        clear_tries(connection, tried, at=START)
    assert wait_seconds(database) == 0
    assert wait_seconds(database) == 5, "99 failures and this attempt stand against the address"
    for _ in range(4):
        assert wait_seconds(database, address="192.0.2.2") == 0


def test_success_sweeps_out_what_is_too_old_to_count(database):
    attempt(database, name="gone long ago")
    tried = attempt(database, seconds=24 * 3600 + 1)
    with database.write() as connection:
        clear_tries(connection, tried, at=START + timedelta(days=1, seconds=1))
        assert connection.execute(sa.select(sa.func.count()).select_from(t.login_failures)).scalar_one() == 0


def test_attempts_at_the_same_moment_do_not_slip_through_together(database):
    with ThreadPoolExecutor(12) as threads:
        waits = list(threads.map(lambda _: wait_seconds(database), range(12)))
    assert sorted(waits) == [0] * 5 + [5] * 7


@pytest.mark.parametrize(
    "name", ["", "\x00", "\ud800", "\u202eann", "a" * 10_000, "name:ann", "'; DROP TABLE accounts"]
)
@pytest.mark.parametrize("address", ["unknown", "\x00" * 1000])
def test_any_name_and_address_can_be_counted(database, name, address):
    for _ in range(5):
        assert wait_seconds(database, name=name, address=address) == 0
    assert wait_seconds(database, name=name, address=address) == 5
