"""TmpAuthenticator 1.0.0 with JupyterHub 5 and later: nobody is allowed unless allow_all is set, and who is not allowed gets an error of the server.

The names are random, so there is nobody to name in users.allowed: whoever chose this authenticator lets everybody in.
"""

from tmpauthenticator import TmpAuthenticateHandler
from tornado import web
from traitlets import default


class Handler(TmpAuthenticateHandler):
    async def login_user(self, data=None):
        user = await super().login_user(data)
        if user is None:
            raise web.HTTPError(403, "This hub lets nobody in: auth.TmpAuthenticator.allow_all is false.")
        return user


class Tmp:
    @default("allow_all")
    def _allow_all_default(self):
        return True

    def get_handlers(self, app):
        return [(path, Handler if handler is TmpAuthenticateHandler else handler) for path, handler in super().get_handlers(app)]
