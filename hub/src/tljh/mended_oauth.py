"""OAuthenticator 17.4.0: what a provider refuses, and a provider that can't be reached, are errors of the server without a word to users."""

import json

from tornado import web
from tornado.httpclient import HTTPClientError


class OAuth:
    async def authenticate(self, handler, data=None, **kwargs):
        try:
            return await super().authenticate(handler, data, **kwargs)
        except HTTPClientError as error:
            # Not what it says: that may hold secrets. OAuthenticator has logged the address, and the answer.
            self.log.error("%s did not confirm a login: %s", self.login_service, error.code)
            if 400 <= error.code < 500:
                raise web.HTTPError(
                    403, f"{self.login_service} did not confirm this login. Please try again; if that does not help, tell an admin of this hub."
                ) from None
            raise self._unreachable() from None
        except OSError as error:
            self.log.error("%s cannot be asked: %s", self.login_service, error)
            raise self._unreachable() from None
        except (json.JSONDecodeError, ValueError, KeyError) as error:
            self.log.error("%s gave an answer that can't be used: %s", self.login_service, type(error).__name__)
            raise web.HTTPError(502, f"{self.login_service} gave an answer that this hub cannot use. Please tell an admin of this hub.") from error

    def _unreachable(self) -> web.HTTPError:
        return web.HTTPError(503, f"{self.login_service} cannot be reached from this hub at the moment. Please try again later.")
