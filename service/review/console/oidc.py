"""Login with an identity provider (OpenID Connect, code flow with PKCE), where the settings name one.

Authlib checks state, nonce, signature, audience and times; what it keeps between the two requests is in a signed
cookie of its own, which has to be SameSite=Lax: the provider's redirect comes from another site.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from service.ledger.store import Store
from service.review.identities import roles_of
from service.review.reviewer import ReviewError
from service.settings import Settings

BACK: Final = "/oidc/back"
LASTS_S: Final = 600  # from the button to the way back
_COOKIE: Final = "sluicegate_oidc"


class ProviderError(ReviewError):
    """The identity provider does not answer, or not as it must."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a provider vouches for. `name`: how they are called; it proves nothing."""

    issuer: str
    subject: str
    name: str
    roles: list[str]


class Provider:
    """The provider that the settings name."""

    def __init__(self, settings: Settings) -> None:
        from authlib.integrations.starlette_client import OAuth

        self._settings = settings
        self.issuer = (settings.oidc_issuer or "").rstrip("/")
        secret = settings.oidc_client_secret
        self._client = OAuth().register(
            "provider",
            server_metadata_url=f"{self.issuer}/.well-known/openid-configuration",
            client_id=settings.oidc_client_id,
            client_secret=secret.get_secret_value() if secret else None,
            client_kwargs={
                "scope": "openid profile",
                "code_challenge_method": "S256",
                "timeout": 10,
                **({} if secret else {"token_endpoint_auth_method": "none"}),
            },
        )

    @property
    def shown(self) -> str:
        """What stands on the button."""
        return urlsplit(self.issuer).netloc

    async def begin(self, request: Request) -> Response:
        """A redirect to the provider. Raises ProviderError."""
        try:
            answer: Response = await self._client.authorize_redirect(request, self._back(request))
        except Exception as error:
            raise ProviderError(self._silent()) from error
        return answer

    async def finish(self, request: Request) -> Identity:
        """Who came back. Raises ProviderError: something of it is not as it must be."""
        from httpx import HTTPError

        try:
            token = await self._client.authorize_access_token(request)
        except HTTPError as error:
            raise ProviderError(self._silent()) from error
        except Exception as error:  # each is a reason not to believe it
            raise ProviderError("This login cannot be believed, or took too long. Begin again.") from error
        claims: dict[str, Any] = token.get("userinfo") or {}  # of the ID token alone
        if str(claims.get("iss", "")).rstrip("/") != self.issuer or not claims.get("sub"):
            raise ProviderError("This login is not of the provider that the settings name. Begin again.")
        name = str(claims.get("preferred_username") or claims.get("name") or "")
        roles = roles_of(claims.get(self._settings.oidc_roles_claim), self._settings.oidc_roles)
        return Identity(self.issuer, str(claims["sub"]), name, roles)

    def _back(self, request: Request) -> str:
        scheme = "https" if self._settings.console_https else "http"
        return f"{scheme}://{request.headers['host']}{BACK}"

    def _silent(self) -> str:
        return f"The identity provider {self.shown} does not answer as it should. Tell the operator."


def remembering(app: ASGIApp, store: Store, settings: Settings) -> ASGIApp:
    """`app` with the signed cookie that the flow needs between its two requests."""
    secret = store.vault.keyed_hash("cookie", "oidc")
    secure = settings.console_https
    return SessionMiddleware(
        app, secret, session_cookie=_COOKIE, max_age=LASTS_S, path="/oidc", same_site="lax", https_only=secure
    )
