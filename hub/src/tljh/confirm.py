"""The password is asked for again before what gives power away: making an admin, deleting a user, minting a token, and all that amounts to one of these.

It concerns requests with a cookie: those of a browser that is logged in. A token was minted with a password and needs none.
"""

from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.apihandlers import auth as api_auth
from jupyterhub.apihandlers import groups as api_groups
from jupyterhub.apihandlers import proxy as api_proxy
from jupyterhub.apihandlers import services as api_services
from jupyterhub.apihandlers import shares as api_shares
from jupyterhub.apihandlers import users as api_users
from jupyterhub.handlers import BaseHandler
from tornado import web

from tljh import guard

HEADER = "X-Confirm-Password"


def require(handler) -> None:
    """Refuse a request of a session whose password was given too long ago."""
    if getattr(handler, "_token_authenticated", False) or not isinstance(getattr(handler.current_user, "orm_user", None), orm.User):
        return
    if guard.proofs(handler).fresh(handler.current_user.id, handler.get_session_cookie()):
        return
    page = handler.hub.base_url + "confirm"
    handler.confirm_at = page
    raise web.HTTPError(403, f"Please enter your password again at {page}, then repeat this.")


class Asking:
    """An API handler that says where to enter the password."""

    confirm_at = ""

    def write_error(self, status_code, **kwargs):
        if self.confirm_at:
            self.set_header(HEADER, self.confirm_at)
        super().write_error(status_code, **kwargs)

    def makes_admin(self) -> bool:
        data = self.get_json_body()
        return isinstance(data, dict) and bool(data.get("admin"))


class UserList(Asking, api_users.UserListAPIHandler):
    async def post(self):
        if self.makes_admin():
            require(self)
        await super().post()


class User(Asking, api_users.UserAPIHandler):
    async def post(self, name):
        if self.makes_admin():
            require(self)
        await super().post(name)

    async def patch(self, name):
        """Whoever is logged in by a name that an admin was given up for would be that admin, so a new name counts as well."""
        data = self.get_json_body()
        changed = {key for key, value in data.items() if key != "name" or value != name} if isinstance(data, dict) else set()
        if self.makes_admin() or changed - {"admin"}:
            require(self)
        await super().patch(name)

    async def delete(self, name):
        require(self)
        await super().delete(name)


class UserTokens(Asking, api_users.UserTokenListAPIHandler):
    async def post(self, name):
        # Without a user in the request, JupyterHub takes a name and password from the body: that is no session.
        if self.current_user is not None:
            require(self)
        await super().post(name)


class Service(Asking, api_services.ServiceAPIHandler):
    """A service can be an admin, with a token that its maker knows, and its pages are on the hub's origin."""

    async def post(self, name):
        require(self)
        await super().post(name)


class Proxy(Asking, api_proxy.ProxyAPIHandler):
    """The hub tells the proxy's token to whoever it takes for the proxy."""

    async def patch(self):
        require(self)
        await super().patch()


class Share(Asking, api_shares.ServerShareAPIHandler):
    """Who may use somebody's server has all that this one has, an admin's sudo too."""

    async def post(self, user_name, server_name=None):
        require(self)
        await super().post(user_name, server_name)


class ShareCode(Asking, api_shares.ServerShareCodeAPIHandler):
    async def post(self, user_name, server_name=None):
        require(self)
        await super().post(user_name, server_name)


class GroupUsers(Asking, api_groups.GroupUsersAPIHandler):
    def post(self, group_name):
        group = orm.Group.find(self.db, group_name)
        if group is not None and (group.roles or group.shared_with_me):
            require(self)
        return super().post(group_name)


class Authorize(api_auth.OAuthAuthorizeHandler):
    """Opening somebody else's server always goes through the page that asks."""

    def needs_oauth_confirm(self, user, oauth_client, requested_scopes):
        if oauth_client.spawner and oauth_client.spawner.user_id != user.id:
            return True
        return super().needs_oauth_confirm(user, oauth_client, requested_scopes)


class ConfirmHandler(BaseHandler):
    """The page that asks for the password again."""

    def _next(self) -> str:
        return self._validate_next_url(self.get_argument("next", "")) or self.hub.base_url + "home"

    @web.authenticated
    async def get(self):
        self.finish(await self.render_template("confirm.html", next=quote(self._next(), safe="/")))

    @web.authenticated
    async def post(self):
        password = self.get_body_argument("password", "", strip=False)
        try:
            right = await self.authenticator.proves(self, self.current_user.name, password)
        except web.HTTPError as error:
            await self._refuse(error.status_code, error.get_message())
            return
        if not right:
            await self._refuse(403, "That is not your password.")
            return
        guard.proofs(self).give(self.current_user.id, self.get_session_cookie())
        self.redirect(self._next())

    async def _refuse(self, status: int, words: str):
        self.set_status(status)
        self.finish(await self.render_template("confirm.html", problem=words, next=quote(self._next(), safe="/")))


HANDLERS = [
    (r"/confirm", ConfirmHandler),
    (r"/api/users", UserList),
    (r"/api/users/([^/]+)", User),
    (r"/api/users/([^/]+)/tokens", UserTokens),
    (r"/api/groups/([^/]+)/users", GroupUsers),
    (r"/api/services/([^/]+)", Service),
    (r"/api/proxy", Proxy),
    (r"/api/shares/([^/]+)/([^/]*)", Share),
    (r"/api/share-codes/([^/]+)/([^/]*)", ShareCode),
    (r"/api/oauth2/authorize", Authorize),
]
