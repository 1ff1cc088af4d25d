"""Plain HTTP calls to a server process, without any library of ours or of Connect's."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

SERVICE = "/latens.v1.LatentService"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Connect's error code."""
        return str(self.json["code"])


def request(
    address: str,
    path: str,
    method: str = "GET",
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    connection = (
        http.client.HTTPSConnection(address, timeout=120, context=tls)
        if tls
        else http.client.HTTPConnection(address, timeout=120)
    )
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def call(
    address: str,
    method: str,
    message: Any,
    *,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One RPC as JSON; a `message` of bytes is sent as it is."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    fields = {"Content-Type": "application/json"} | (headers or {})
    return request(address, f"{SERVICE}/{method}", "POST", body=body, headers=fields, tls=tls)
