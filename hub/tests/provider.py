"""An OAuth 2 provider on a free port, as strict as the real ones: codes hold once, for one client, one secret and one address to return to, with the
proof of possession (PKCE) that was promised. Its addresses and answers have the shapes that GitHub, GitLab, Google, Entra, Bitbucket, Auth0,
CILogon, Globus and OpenShift document.
"""

import base64
import contextlib
import hashlib
import json
import secrets
from urllib.parse import urlencode

import jwt
from aiohttp import web

CLIENT, SECRET = "the-hub", "a-secret-of-the-hub"


class Provider:
    """`user` is who sits at the browser; None is somebody who says no there."""

    def __init__(self, paths, describe):
        self.user, self.down, self.secret = "alice", False, SECRET
        self.codes, self.tokens, self.asked = {}, {}, []
        self.place, self.fetched = "", []  # where it is, and what the hub asked it for: whole addresses where it is taken for a proxy
        self.describe = describe
        self.app = web.Application()
        authorize, token, userinfo = paths
        self.app.router.add_get(authorize, self.authorize)
        self.app.router.add_post(token, self.token)
        if userinfo:
            self.app.router.add_get(userinfo, self.userinfo)

    async def authorize(self, request):
        asked = dict(request.query)
        self.asked.append(asked)
        if asked.get("client_id") != CLIENT or asked.get("response_type") != "code" or "redirect_uri" not in asked:
            return web.Response(status=400, text="no such client")
        back = {"state": asked["state"]}
        if self.user is None:
            back |= {"error": "access_denied", "error_description": "The user said no"}
        else:
            back["code"] = secrets.token_urlsafe(16)
            self.codes[back["code"]] = (self.user, asked)
        raise web.HTTPFound(asked["redirect_uri"] + "?" + urlencode(back))

    async def token(self, request):
        self.fetched.append(request.raw_path)
        if self.down:
            return web.Response(status=503)
        form = await request.post()
        client, secret = form.get("client_id"), form.get("client_secret")
        if request.headers.get("Authorization", "").startswith("Basic "):
            client, secret = base64.b64decode(request.headers["Authorization"][6:]).decode().split(":")
        if (client, secret) != (CLIENT, self.secret):
            return web.json_response({"error": "invalid_client"}, status=401)
        user, asked = self.codes.pop(form["code"], (None, {}))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        if user is None or form["redirect_uri"] != asked["redirect_uri"] or form["grant_type"] != "authorization_code" or asked["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant", "error_description": "This code does not hold"}, status=400)
        token = secrets.token_urlsafe(16)
        self.tokens[token] = user
        claims = self.describe(user) | {"aud": CLIENT, "iss": "provider", "exp": 4102444800}
        answer = {"access_token": token, "token_type": "bearer", "expires_in": 3600, "scope": asked.get("scope", ""), "other_tokens": []}
        return web.json_response(answer | {"id_token": jwt.encode(claims, "a" * 32, algorithm="HS256")})

    async def userinfo(self, request):
        self.fetched.append(request.raw_path)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() not in ("bearer", "token") or token not in self.tokens:
            return web.json_response({"message": "Bad credentials"}, status=401)
        return web.Response(text=json.dumps(self.describe(self.tokens[token])), content_type="application/json")


@contextlib.asynccontextmanager
async def serving(provider):
    """Its address."""
    runner = web.AppRunner(provider.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()
