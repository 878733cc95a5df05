"""Seals models, so that only those that were made here are ever used."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from domain.errors import BadData
from ml.features import SCHEMA
from ml.model import FORMAT, Model

MAGIC = b"RVNML1\n"
MAC_BYTES = 32
BLOB_MAX = 32 << 20
KEY_BYTES_MIN = 32
AHEAD_MS = 300_000
"""How far a model may come from the future: clocks differ a little."""

_decoder = msgspec.json.Decoder(Model)


def seal(model: Model, key: bytes) -> bytes:
    """Return a model as bytes that cannot be changed without its being noticed (HMAC-SHA256 over all of them)."""
    body = MAGIC + msgspec.json.encode(model)
    return body[: len(MAGIC)] + _mac(key, body) + body[len(MAGIC) :]


def unseal(blob: bytes, key: bytes, *, strategy: str, source: str, now_ms: int) -> Model:
    """Return the model in sealed bytes.

    Raises:
        BadData: when it was tampered with or cut off, is another strategy's or source's, or fits this program no more.
    """
    start = len(MAGIC) + MAC_BYTES
    if not start < len(blob) <= BLOB_MAX:
        raise BadData(f"{len(blob)} bytes are no model")
    if not blob.startswith(MAGIC):
        raise BadData("it is no sealed model; pickles and other foreign formats are never loaded")
    if not hmac.compare_digest(_mac(key, MAGIC + blob[start:]), blob[len(MAGIC) : start]):
        raise BadData("its seal is broken: it was changed, cut off, or sealed with another MODEL_KEY")
    try:
        model = _decoder.decode(blob[start:])
    except msgspec.MsgspecError as error:
        raise BadData(f"it cannot be read: {error}") from error
    if (model.strategy, model.source) != (strategy, source):
        raise BadData(f"it scores {model.strategy} on {model.source}, not {strategy} on {source}")
    if model.schema != SCHEMA or model.format != FORMAT:
        raise BadData(f"it was made for features {model.schema} and format {model.format}, now {SCHEMA} and {FORMAT}")
    if model.trained_at > now_ms + AHEAD_MS:
        raise BadData("it was made in the future: look at the clock")
    return model


def digest(blob: bytes) -> str:
    """Return what names sealed bytes in the registry."""
    return hashlib.sha256(blob).hexdigest()


def _mac(key: bytes, body: bytes) -> bytes:
    if len(key) < KEY_BYTES_MIN:
        raise BadData(f"MODEL_KEY has {len(key)} bytes; give it {KEY_BYTES_MIN} or more")
    return hmac.digest(key, body, "sha256")
