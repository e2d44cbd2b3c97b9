"""Who may ask the studio: this computer's own pages, or those who know the token."""

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

COOKIE = "jaxsep_studio"
# As browsers write them. What a library would make of anything else, a browser may see otherwise.
HOST = re.compile(rb"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
LOOPBACK = re.compile(rb"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
# Nothing from elsewhere, and nothing for other sites: no frame around it, no picture in theirs.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Answer = Callable[[Request], Awaitable[Response]]


def make_guard(token: str | None) -> Callable[[Request, Answer], Awaitable[Response]]:
    """Returns a middleware that refuses strangers.

    Without a token the studio is for this computer alone. A page from elsewhere, open in the same
    browser, must not reach it: neither by asking it directly nor by a name that leads here.

    Args:
      token: Secret that has to be known: once in the address of the page, then in a cookie, or in
        the header `Authorization: Bearer`.
    """

    def knows(request: Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return any(_same(text, token) for text in (request.cookies.get(COOKIE, ""), bearer))

    async def guard(request: Request, answer: Answer) -> Response:
        reason = refusal(request.headers.raw, is_local=token is None)
        if reason:
            response: Response = JSONResponse({"detail": reason}, 403)
        elif token is None or knows(request):
            response = await answer(request)
        elif request.scope["path"] == "/" and _same(request.query_params.get("token", ""), token):
            response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        else:
            reason = "open the address that `jaxsep studio` printed, with its token"
            response = JSONResponse({"detail": reason}, 403)
        response.headers.update(HEADERS)
        return response

    return guard


def refusal(headers: Sequence[tuple[bytes, bytes]], *, is_local: bool) -> str | None:
    """Tells why a request is a stranger's, by its headers as they came, or returns None.

    Args:
      headers: Names, in lower case, and values.
      is_local: Whether this computer's own names are the only ones that the studio has.
    """
    hosts, origins = (
        [value.lower() for name, value in headers if name == wanted]
        for wanted in (b"host", b"origin")
    )
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        return "the request must have one Host header, which is a name or an address"
    if is_local and not LOOPBACK.fullmatch(hosts[0]):
        return f"open it as 127.0.0.1, not as {hosts[0].decode()}"
    if any(origin not in (b"http://" + hosts[0], b"https://" + hosts[0]) for origin in origins):
        return "another site's page may not ask the studio"
    return None


def _same(text: str, token: str | None) -> bool:
    return token is not None and secrets.compare_digest(text.encode(), token.encode())
