"""LDAPAuthenticator 2.0.2 asks the directory on the hub's only thread: while one does not answer, nobody's request is answered. And a directory that
can't be reached is an error of the server without a word to users.
"""

import asyncio

from ldap3.core.exceptions import LDAPException
from tornado import web


class LDAP:
    async def authenticate(self, handler, data):
        try:
            # It awaits nothing, so a loop of its own on another thread is all that it needs.
            return await asyncio.to_thread(lambda: asyncio.run(super(LDAP, self).authenticate(handler, data)))
        except LDAPException as error:
            self.log.error("the directory %s can't be asked: %s", self.server_address, error)
            raise web.HTTPError(503, "The directory that knows the users of this hub cannot be reached. Please try again later.") from None
