"""Who may ask the studio: this computer's own pages, or those who know the token."""

import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

COOKIE = "jaxsep_studio"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
# Nothing from elsewhere, and nobody else's frame around it.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Answer = Callable[[Request], Awaitable[Response]]


def make_guard(token: str | None) -> Callable[[Request, Answer], Awaitable[Response]]:
    """Returns a middleware that refuses strangers.

    Without a token it is for this computer alone, and a page from elsewhere, open in the same
    browser, must not reach it: neither by asking it directly nor by a name that leads here.

    Args:
      token: that has to be known, once in the address of the page, then in a cookie, or in the
        header `Authorization: Bearer`.
    """

    def refusal(request: Request) -> str | None:
        origin = request.headers.get("origin")
        if origin and urlsplit(origin).netloc != request.headers.get("host"):
            return "another site's page may not ask the studio"
        if token is None and request.url.hostname not in LOOPBACK_NAMES:
            return f"open it as {LOOPBACK_NAMES[0]}, not as {request.url.hostname}"
        if token is not None:
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            known = (request.cookies.get(COOKIE, ""), bearer)
            if not any(secrets.compare_digest(text.encode(), token.encode()) for text in known):
                return "open the address that `jaxsep studio` printed, with its token"
        return None

    async def guard(request: Request, answer: Answer) -> Response:
        offered = request.query_params.get("token", "")
        if (
            token
            and request.url.path == "/"
            and secrets.compare_digest(offered.encode(), token.encode())
        ):
            response: Response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        elif reason := refusal(request):
            response = JSONResponse({"detail": reason}, 403)
        else:
            response = await answer(request)
        response.headers.update(HEADERS)
        return response

    return guard
