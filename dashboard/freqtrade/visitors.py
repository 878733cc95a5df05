"""Who asks: the name and password, or the token, that came with the request, and nothing else."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from dashboard.access import ONLY_LOOKS, address_of
from dashboard.freqtrade.tokens import Kind, Tokens, Visitor
from dashboard.services import Held

NAME_MAX = 80
# a challenge with Basic would have browsers ask for a password, and send it along with whatever other sites ask for
CHALLENGE = {"WWW-Authenticate": "Bearer"}


def tokens(request: Request) -> Tokens:
    """Return what issues the tokens of the application that serves a request."""
    found: Tokens = request.app.state.tokens
    return found


Signed = Annotated[Tokens, Depends(tokens)]


def credentials(request: Request) -> tuple[str, str]:
    """Return the scheme of the request's credentials in lower case, and the rest."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower(), given.strip()


async def signs_in(request: Request, services: Held) -> Visitor:
    """Return who gives a name and a password. Raises HTTPException."""
    scheme, given = credentials(request)
    if scheme != "basic":
        raise HTTPException(401, "sign in with a name and a password (HTTP basic)", CHALLENGE)
    try:
        name, colon, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name, colon, secret = "", "", ""
    if not (colon and secret):
        raise HTTPException(401, "name and password cannot be read", CHALLENGE)
    return Visitor(name[:NAME_MAX], services.access.opens(secret, address_of(request)))


def bearer(request: Request, held: Tokens, kind: Kind) -> Visitor:
    """Return whose token a request bears. Raises HTTPException."""
    found = held.visitor(credentials(request)[1], kind)
    if found is None:
        raise HTTPException(401, f"this {kind} token has expired or is not known here: sign in again", CHALLENGE)
    return found


async def may_read(request: Request, services: Held, held: Signed) -> Visitor:
    """Let through whoever may look. Raises HTTPException."""
    if credentials(request)[0] == "bearer":
        return bearer(request, held, "access")
    return await signs_in(request, services)


Reader = Annotated[Visitor, Depends(may_read)]


async def may_act(request: Request, visitor: Reader) -> Visitor:
    """Let through whoever may act. Raises HTTPException."""
    if not visitor.acts:
        raise HTTPException(403, ONLY_LOOKS)
    origin = request.headers.get("origin")
    if origin and origin not in request.app.state.origins and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, f"this comes from another site's page: name {origin[:200]} in dashboard.cors_origins")
    return visitor
