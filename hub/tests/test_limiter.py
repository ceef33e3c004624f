"""The limits of login attempts, with a clock of the test's own."""

import asyncio
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from tornado.web import HTTPError

from tljh import firstlogin, guard, limiter
from tljh.limiter import Busy, Limiter, Turns


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_guessing_one_name_slows_down_and_never_ends_in_a_lock(clock):
    limits, tried = Limiter(clock), 0
    end = clock.now + 3600
    while clock.now < end:
        if (wait := limits.wait("bob", "192.0.2.1")) > 0:
            assert wait <= limiter.PAIR_LONGEST
            clock.now += wait
        limits.failed("bob", "192.0.2.1")
        tried += 1
    assert tried < 40


UNITS = {"second": 1, "seconds": 1, "minute": 60, "minutes": 60}
TRIES = {
    "one name from one address": lambda number: ("bob", "192.0.2.1"),
    "one name from all addresses": lambda number: ("bob", f"192.0.2.{number}"),
    "all names from one address": lambda number: (f"name-{number}", "192.0.2.1"),
}


def test_the_limits_are_those_of_the_manual(clock):
    page = (Path(__file__).parents[2] / "docs/logins.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (\d+) \| 1 second, doubled each time, at most (\d+) (\w+) \|$", page, re.MULTILINE)
    assert {row[0] for row in rows} == set(TRIES)
    for what, free, most, unit in rows:
        limits, waits = Limiter(clock), []
        for number in range(int(free) + 30):
            limits.failed(*TRIES[what](number))
            waits.append(limits.wait(*TRIES[what](number + 1)))
            clock.now += waits[-1]
        doubled = [0] * (int(free) - 1) + [min(2**number, int(most) * UNITS[unit]) for number in range(31)]
        assert waits == doubled, what
        clock.now += limiter.FORGET + 1
        limits.failed(*TRIES[what](1))
        assert limits.wait(*TRIES[what](2)) == 0, "failures are forgotten after an hour"
    assert limiter.FORGET == 3600


def test_attempts_during_a_wait_are_refused_and_do_not_make_it_longer(clock, monkeypatch):
    monkeypatch.setattr(guard, "FAILURE_TAKES", 0)
    compared = []

    async def check():
        compared.append(True)
        return False

    async def test():
        limits = Limiter(clock)
        handler = SimpleNamespace(settings={guard.LIMITER: limits}, log=logging.getLogger(), request=SimpleNamespace(remote_ip="192.0.2.1"))
        for _ in range(limiter.PAIR_FREE):
            await guard.attempt(handler, "bob", check)
        until = limits.wait("bob", "192.0.2.1")
        for _ in range(20):
            with pytest.raises(HTTPError) as refused:
                await guard.attempt(handler, "bob", check)
            assert refused.value.status_code == 429
        assert limits.wait("bob", "192.0.2.1") == until == 1
        assert len(compared) == limiter.PAIR_FREE, "a password was compared during a wait"

    asyncio.run(test())


def test_a_name_that_may_choose_a_password_takes_no_failure_back(clock, monkeypatch):
    """Whoever knows a name that nobody has claimed could guess without end otherwise."""
    monkeypatch.setattr(guard, "FAILURE_TAKES", 0)

    async def fails():
        return False

    async def chooses():
        return firstlogin.Step("erin")

    async def test():
        limits = Limiter(clock)
        handler = SimpleNamespace(settings={guard.LIMITER: limits}, log=logging.getLogger(), request=SimpleNamespace(remote_ip="192.0.2.1"))
        with pytest.raises(HTTPError):
            for number in range(limiter.ADDRESS_FREE + 2):
                await guard.attempt(handler, f"guess-{number}", fails)
                assert isinstance(await guard.attempt(handler, "erin", chooses), firstlogin.Step)

    asyncio.run(test())


def test_the_owner_gets_in_from_where_they_always_come_while_others_guess(clock):
    limits = Limiter(clock)
    limits.succeeded("bob", "198.51.100.7")
    for number in range(1000):
        limits.failed("bob", f"192.0.2.{number % 250}")
    assert limits.wait("bob", "198.51.100.7") == 0
    assert 0 < limits.wait("bob", "203.0.113.9") <= limiter.NAME_LONGEST, "from elsewhere it takes a moment"


def test_a_class_behind_one_address_is_not_held_up(clock):
    limits = Limiter(clock)
    for number in range(50):
        limits.failed(f"student-{number}", "192.0.2.1")  # each mistypes once
        assert limits.wait(f"student-{number}", "192.0.2.1") == 0
        limits.succeeded(f"student-{number}", "192.0.2.1")


def test_many_names_from_one_address_are_limited(clock):
    limits = Limiter(clock)
    for number in range(200):
        limits.failed(f"name-{number}", "192.0.2.1")
    assert limits.wait("another", "192.0.2.1") > 0
    assert limits.wait("another", "192.0.2.2") == 0


def test_the_addresses_of_one_network_count_as_one_address(clock):
    """A machine with IPv6 has a whole /64 to itself, so each attempt could come from another address."""
    limits = Limiter(clock)
    for number in range(limiter.ADDRESS_FREE):
        limits.failed(f"name-{number}", f"2001:db8:0:7::{number:x}")
    assert limits.wait("another", "2001:db8:0:7:ffff::1") > 0
    assert limits.wait("another", "2001:db8:0:8::1") == 0, "another network"
    for number in range(limiter.PAIR_FREE):
        limits.failed("bob", f"2001:db8:0:9::{number:x}")
    assert limits.wait("bob", "2001:db8:0:9::ffff") > 0
    for number in range(limiter.ADDRESS_FREE):
        limits.failed(f"name-{number}", "::ffff:192.0.2.9")
    assert limits.wait("another", "192.0.2.9") > 0, "an IPv4 address in another spelling"


def test_one_network_does_not_take_the_turns_of_all():
    async def test():
        turns = Turns(running=1, waiting=2, in_all=600)
        go_on = asyncio.Event()

        async def wait(address):
            async with turns.turn(address):
                await go_on.wait()

        flood = [asyncio.create_task(wait(f"2001:db8:0:7::{number:x}")) for number in range(20)]
        await asyncio.sleep(0)
        other = asyncio.create_task(wait("192.0.2.1"))
        await asyncio.sleep(0)
        assert sum(map(len, turns.queues.values())) == 3
        go_on.set()
        done = await asyncio.gather(*flood, other, return_exceptions=True)
        assert sum(isinstance(each, Busy) for each in done) == 17
        assert done[-1] is None

    asyncio.run(test())


def test_memory_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(limiter, "ENTRIES", 100)
    limits = Limiter(clock)
    for number in range(1000):
        limits.failed(f"name-{number}", f"address-{number}")
        limits.succeeded(f"friend-{number}", f"address-{number}")
    assert max(len(limits.pairs.entries), len(limits.names.entries), len(limits.addresses.entries), len(limits.known)) <= 100


def test_a_flood_from_one_address_does_not_hold_up_another():
    async def test():
        turns, order, refused = Turns(running=2, waiting=60), [], 0

        async def one(address):
            nonlocal refused
            try:
                async with turns.turn(address):
                    await asyncio.sleep(0)
                    order.append(address)
            except Busy:
                refused += 1

        flood = [asyncio.create_task(one("flood")) for _ in range(200)]
        await asyncio.sleep(0)
        await one("good")
        await asyncio.gather(*flood)
        assert order.index("good") <= 6
        assert refused == 200 - 62
        assert turns.free == 2
        assert not turns.queues

    asyncio.run(test())


def test_who_gives_up_waiting_takes_no_turn():
    async def test():
        turns = Turns(running=1)
        async with turns.turn("a"):
            waiting = [asyncio.create_task(turns._take("b")) for _ in range(3)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(1), turns.turn("c"):
            pass
        assert turns.free == 1

    asyncio.run(test())
