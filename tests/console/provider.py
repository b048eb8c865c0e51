"""A small OpenID provider on loopback: discovery, codes, PKCE, signed tokens; it says whatever a test wants it to."""

import base64
import hashlib
import secrets
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

CLIENT, SECRET = "console", "a secret of the client"


class OpenIdProvider:
    """`claims`: what the next ID token says beside or instead of the usual. `signing`: the key that signs it."""

    def __init__(self, issuer):
        self.issuer, self.claims, self.codes, self.asked = issuer, {}, {}, []
        self.key = self.signing = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/jwks", self.jwks),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def discovery(self, request):
        paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        told = {name: f"{self.issuer}/{path}" for name, path in paths.items()}
        told |= {"issuer": self.issuer, "id_token_signing_alg_values_supported": ["RS256"]}
        return JSONResponse(told)

    async def jwks(self, request):
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def authorize(self, request):
        asked = dict(request.query_params)
        self.asked.append(asked)
        assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT, "S256")
        self.codes[code := secrets.token_urlsafe()] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    async def token(self, request):
        given = await request.form()
        login = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.pop(given["code"], None)
        challenge = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        right = asked and asked["code_challenge"] == base64.urlsafe_b64encode(challenge).decode().rstrip("=")
        if not right or request.headers["authorization"] != f"Basic {login}":
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "42", "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims | self.claims, self.signing)
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": token})


@contextmanager
def openid_provider():
    """Serves until the block ends, as `localhost`: to a browser on 127.0.0.1 another site."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        made = OpenIdProvider(f"http://localhost:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(made.app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield made
        finally:
            server.should_exit = True
            thread.join(20)
