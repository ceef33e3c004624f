"""Names of single-user servers below hub.user_domain.

The edge decides by them what it serves, and asks here before it fetches a certificate for one. edge/origins.go has the same rule.
"""

import hashlib
import re

from jupyterhub import orm
from jupyterhub.handlers import BaseHandler
from tornado import web

_PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def label(user: str) -> str:
    """The name below hub.user_domain under which a user's server is served."""
    user = user.lower()
    if _PLAIN.fullmatch(user) and not user.startswith("u-") and "--" not in user:
        return user
    return "u-" + hashlib.sha256(user.encode()).hexdigest()[:20]


class UserLabelHandler(BaseHandler):
    """Answers the edge, and nobody who comes through it, whether a user has a label."""

    def get(self, wanted: str) -> None:
        if "X-Forwarded-For" in self.request.headers:
            raise web.HTTPError(404)
        if not any(label(name) == wanted for (name,) in self.db.query(orm.User.name)):
            raise web.HTTPError(404)
        self.set_status(204)
        self.finish()
