"""A platform's Redis with a certificate of its own making: refused as it stands, used when the operator says so."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading

import pytest
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bootstrap.parts import keyvalue
from domain.errors import Unavailable
from settings import load
from workers.celery_app import make_app

ROOT_NAME = "a platform"


def own_certificate(folder):
    """Write a key and a certificate that nobody else has signed; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ROOT_NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def carry(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tls_port(own_redis, tmp_path):
    """TLS in front of a real Redis."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate(tmp_path))
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:
                return
            try:
                client = context.wrap_socket(plain, server_side=True)
            except OSError:
                plain.close()
                continue
            server = socket.create_connection(("127.0.0.1", own_redis.port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def told(port, **more):
    return load(None, {"REDIS_URL": f"rediss://127.0.0.1:{port}/0", **more}, trading=False)


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_the_operator_says_otherwise(tls_port):
    strict, lenient = keyvalue(told(tls_port)), keyvalue(told(tls_port, REDIS_VERIFY="false"))
    with pytest.raises(Unavailable, match=r"(?i)certificate"), strict.translated():
        strict.client.ping()
    with lenient.translated():
        lenient.client.set("a", b"1")
        assert lenient.client.get("a") == b"1"
    strict.close()
    lenient.close()


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_celery_hands_tasks_around_over_it(tls_port):
    app = make_app(told(tls_port, REDIS_VERIFY="false", DATA_SOURCE="binance"))
    assert isinstance(app, Celery)
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=0)
        connection.SimpleQueue("told").put("something")
    app.backend.set("result", "kept")
    assert app.backend.get("result") == b"kept"
