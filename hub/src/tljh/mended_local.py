"""JupyterHub 6.1.1, LocalAuthenticator (`local-github` and the like): a name without an account of the system is an error of the server, after the user was
stored; the next time, the same name gets in.
"""

from types import SimpleNamespace

from jupyterhub.utils import maybe_future
from tornado import web


class Local:
    async def check_blocked_users(self, username, authentication=None):
        if not await maybe_future(super().check_blocked_users(username, authentication)):
            return False
        if not self.create_system_users and not self.system_user_exists(SimpleNamespace(name=username)):
            self.log.warning("there is no account %s on this server, which %s needs", username, type(self).__name__)
            raise web.HTTPError(403, f"There is no account {username} on this server. Please ask an admin of this hub.")
        return True
