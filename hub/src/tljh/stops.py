"""A server that has ended is written down as soon as the database takes it.

JupyterHub gives up when the database cannot be written in that moment, as on a full disk: until the hub restarts, the server counts as
stopping, and its user starts none.
"""

import asyncio

from jupyterhub.user import User
from sqlalchemy.exc import SQLAlchemyError

_LONGEST = 30.0  # seconds between two tries


def install() -> None:
    """Put this into JupyterHub's users, once."""
    if not hasattr(User.stop, "tljh_plain"):
        User.stop = _repeated(User.stop)


def _repeated(plain):
    async def stop(user, server_name=""):
        pause = 0.5
        while True:
            try:
                return await plain(user, server_name)
            except SQLAlchemyError as error:
                user.db.rollback()
                said = getattr(error, "orig", None) or error
                user.log.warning("%s's server has ended, and the database does not take it: %s. Next try in %.1f s", user.name, said, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)

    stop.tljh_plain = plain
    return stop
