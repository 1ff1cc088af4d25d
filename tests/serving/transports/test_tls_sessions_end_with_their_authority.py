"""A TLS session is resumed only while the authority that let its client in is the present one."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from certificates import Authority, Signed
from latens_serving.settings import TlsFiles
from latens_serving.transports.tls import ssl_context

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Handshake:
    """Both ends of a connection in memory."""

    def __init__(
        self, server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> None:
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(there, back, server_side=True)
        self.client = client.wrap_bio(back, there, server_hostname="localhost", session=session)
        steps = [self.client.do_handshake, self.server.do_handshake]
        while steps:
            steps = [step for step in steps if _waits(step)]

    def session(self) -> ssl.SSLSession:
        """What the client may resume with; TLS 1.3 sends it after the handshake."""
        assert _waits(self.client.read)
        session = self.client.session
        assert session is not None
        return session


def _waits(step: Callable[[], object]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return True
    return False


def client_of(authority: Authority, shown: Signed, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(shown.certificate, shown.key)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_ends_when_the_clients_authority_is_replaced(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority, next_authority = Authority(tmp_path), Authority(tmp_path, "next")
    served, old, new = authority.sign("server"), authority.sign("old"), next_authority.sign("new")
    clients = Path(shutil.copy(authority.certificate, tmp_path / "clients.pem"))
    server = ssl_context(TlsFiles(served.certificate, served.key, clients))
    client = client_of(authority, old, version)
    session = Handshake(server, client, None).session()
    assert Handshake(server, client, session).client.session_reused
    shutil.copy(next_authority.certificate, clients)
    with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_VERIFY_FAILED|UNKNOWN_CA"):
        Handshake(server, client, session)
    assert Handshake(server, client_of(authority, new, version), None).session()
