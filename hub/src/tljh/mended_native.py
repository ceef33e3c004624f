"""NativeAuthenticator 1.3.0 with JupyterHub 6.1 and bcrypt 5.

Its login form uses `statsd`, which JupyterHub has no more, so that every login is an error of the server; its form takes no words of an error, so that an
expired one is an error of the server, too. A wrong password answers 200. bcrypt refuses passwords of more than 72 bytes, and nobody catches that. It hashes on
the hub's only thread. Whom an admin has authorized is not allowed since JupyterHub 5. Pages about users who have signed up never are errors of the server.
"""

import asyncio
import functools

import bcrypt
from jinja2 import ChoiceLoader, FileSystemLoader
from jupyterhub.utils import maybe_future
from nativeauthenticator import handlers
from tornado import web
from tornado.escape import url_escape
from tornado.httputil import url_concat

from tljh import passwords


@functools.cache
def _nobodys_digest() -> bytes:
    """Compared with where there is none. Made as those of users are, so that it takes as long."""
    return bcrypt.hashpw(b"a password that nobody has", bcrypt.gensalt())


class LoginHandler(handlers.LoginHandler):
    """The log-in form."""

    def _render(self, login_error=None, username=None, **more):
        next_url = self.get_argument("next", default="")
        return self.render_template(
            "native-login.html",
            next=url_escape(next_url),
            username=username,
            login_error=login_error,
            custom_html=self.authenticator.custom_html,
            login_url=self.settings["login_url"],
            enable_signup=self.authenticator.enable_signup,
            two_factor_auth=self.authenticator.allow_2fa,
            authenticator_login_url=url_concat(self.authenticator.login_url(self.hub.base_url), {"next": next_url}),
            **{name: value for name, value in more.items() if name == "sync"},
        )

    async def post(self):
        data = {name: self.get_body_argument(name, strip=name == "username") for name in self.request.body_arguments if name != "_xsrf"}
        data = {"username": "", "password": ""} | data
        user = await self.login_user(data)
        if user:
            self._jupyterhub_user = user
            self.redirect(self.get_next_url(user))
            return
        self.set_status(403)
        self.finish(await self._render(login_error=await self._why(data), username=data["username"][:32]))

    async def _why(self, data) -> str:
        """Only who knows the password is told more."""
        info = self.authenticator.get_user(data["username"])
        if info is not None and not info.is_authorized and await self.authenticator.password_is(info, data["password"]):
            return f"User {info.username} has not been authorized by an administrator yet."
        return "Invalid username or password."


class ToggleAuthorizationHandler(handlers.ToggleAuthorizationHandler):
    @handlers.admin_users_scope
    async def get(self, slug):
        if not self.authenticator.user_exists(slug):
            raise web.HTTPError(404)
        await super().get(slug)


class ChangePasswordHandler(handlers.ChangePasswordHandler):
    async def prepare(self):
        await super().prepare()
        if self.current_user and not self.authenticator.user_exists(self.current_user.name):
            raise web.HTTPError(404, "There is no password for this name yet: sign up first.")

    @web.authenticated
    async def post(self):
        # Its own code compares with what may be longer than bcrypt takes.
        if len(self.get_body_argument("old_password", "", strip=False).encode()) > passwords.MAX_BYTES:
            raise web.HTTPError(400, "Your current password was incorrect. Please try again.")
        await super().post()


class Native:
    _handlers = {handler.__base__: handler for handler in (LoginHandler, ToggleAuthorizationHandler, ChangePasswordHandler)}

    def get_handlers(self, app):
        # Its own code makes its pages known too late, and not where errors are shown.
        for environment in (app.tornado_settings["jinja2_env"], app.tornado_settings["jinja2_env_sync"]):
            environment.loader = ChoiceLoader([environment.loader, FileSystemLoader([handlers.TEMPLATE_DIR])])
        app.template_vars.setdefault("native_pages", True)
        return [(path, self._handlers.get(handler, handler)) for path, handler in super().get_handlers(app)]

    async def password_is(self, info, password: str) -> bool:
        """Whether it is a user's password. Takes as long for names that nobody has."""
        stored = bytes(info.password) if info is not None else _nobodys_digest()
        return await asyncio.to_thread(passwords.matches, password, stored) and info is not None

    async def authenticate(self, handler, data):
        name = self.normalize_username(data.get("username") or "")
        info = self.get_user(name)
        right = await self.password_is(info, data.get("password") or "")
        if info is None or (self.allowed_failed_logins and self.is_blocked(name)):
            return None
        if right and info.is_authorized and (not info.has_2fa or info.is_valid_token(data.get("2fa") or "")):
            self.successful_login(name)
            return name
        self.add_login_attempt(name)
        return None

    def is_password_strong(self, password):
        return passwords.problem(password, 0) is None and super().is_password_strong(password)

    async def check_allowed(self, username, authentication=None):
        """Authorizing somebody is what allows them."""
        if await maybe_future(super().check_allowed(username, authentication)):
            return True
        info = self.get_user(username)
        return info is not None and bool(info.is_authorized)
