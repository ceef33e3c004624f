"""What authenticators with passwords have in common: limits of attempts, one answer for all that fail, and proofs of a password by session."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from jupyterhub import orm
from tornado import web

from tljh import firstlogin
from tljh.limiter import Busy, Limiter, Turns

# What a failed login takes at least, so that its time does not show what was looked up.
FAILURE_TAKES = 0.4

# How long a password that was given counts.
PROOF_LASTS = 300


class Proofs:
    """When each session last proved its password. Kept in memory: after a restart of the hub it is asked for again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, lasts: float = PROOF_LASTS, most: int = 10_000):
        self.clock, self.lasts, self.most = clock, lasts, most
        self.given: OrderedDict[tuple[int, str], float] = OrderedDict()

    def give(self, user: int, session: str | None) -> None:
        if not session:
            return
        self.given.pop((user, session), None)
        self.given[user, session] = self.clock()
        while len(self.given) > self.most:
            self.given.popitem(last=False)

    def fresh(self, user: int, session: str | None) -> bool:
        """Whether the session proved its password lately."""
        given = self.given.get((user, session or ""))
        return given is not None and self.clock() - given <= self.lasts


LIMITER, TURNS, PROOFS = "tljh_limiter", "tljh_turns", "tljh_proofs"


def kept(handler, key: str, make):
    """One object for the life of the hub."""
    return handler.settings.setdefault(key, make()) if key not in handler.settings else handler.settings[key]


def proofs(handler) -> Proofs:
    return kept(handler, PROOFS, Proofs)


def end_sessions(db, user: orm.User, keep: str | None = None) -> None:
    """Log a user out everywhere, but for one session. Tokens that the user made for programs stay."""
    for token in db.query(orm.APIToken).filter_by(user_id=user.id):
        if token.session_id and token.session_id != keep:
            db.delete(token)
    user.cookie_id = orm.new_token()
    db.commit()


def end_other_sessions(handler, user) -> None:
    """Log a user out everywhere but here: whoever knew the old password may be logged in."""
    end_sessions(handler.db, user.orm_user, handler.get_session_cookie())
    handler.set_hub_cookie(user)


async def attempt(handler, name: str, check):
    """The result of a check of a password, which is awaited if the limits allow it. All that is not true counts as failed.

    Who reads the journal finds "login refused" in each line about a failure: docs/logins.md documents its form.
    """
    address, begun = handler.request.remote_ip, time.monotonic()
    limiter, turns = kept(handler, LIMITER, Limiter), kept(handler, TURNS, Turns)
    if (wait := limiter.wait(name, address)) > 0:
        handler.log.warning("login refused: address=%s reason=limit name=%r", address, name[:32])
        raise web.HTTPError(429, f"Too many attempts. Please try again in {max(2, int(wait) + 1)} seconds.")
    try:
        async with turns.turn(address):
            # Whoever waited may have used up the attempts meanwhile.
            if (wait := limiter.wait(name, address)) > 0:
                handler.log.warning("login refused: address=%s reason=limit name=%r", address, name[:32])
                raise web.HTTPError(429, f"Too many attempts. Please try again in {max(2, int(wait) + 1)} seconds.")
            result = await check()
            if isinstance(result, firstlogin.Step):
                pass  # that a name may choose a password proves nothing of whoever asked
            elif result:
                limiter.succeeded(name, address)
            else:
                limiter.failed(name, address)
    except Busy:
        handler.log.warning("login refused: address=%s reason=busy name=%r", address, name[:32])
        raise web.HTTPError(429, "The hub is busy with other logins. Please try again in a few seconds.") from None
    if not result:
        handler.log.warning("login refused: address=%s reason=password name=%r", address, name[:32])
        await asyncio.sleep(max(0.0, begun + FAILURE_TAKES - time.monotonic()))
    return result
