"""Text for the refusals that the Connect library leaves empty: no such RPC, no POST, no codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TEXTS: Final[dict[int, Callable[[Scope], str]]] = {
    404: lambda scope: f"no such RPC: {scope['path'][:200]}\n",
    405: lambda scope: f"expected POST, not {scope['method'][:20]}\n",
    415: lambda scope: (
        "expected Content-Type application/json, application/proto or "
        f"application/grpc-web+proto, not {Headers(scope=scope).get('content-type', '')[:100]!r}\n"
    ),
}


class ExplainedRefusals:
    """ASGI middleware that fills in the bodies of these refusals."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: Message | None = None

        async def explain(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] in _TEXTS:
                held = message
                return
            if held is not None:
                start, held = held, None
                if not message.get("body") and not message.get("more_body", False):
                    text = _TEXTS[start["status"]](scope).encode("utf-8", "replace")
                    headers = MutableHeaders(scope=start)
                    headers["content-type"] = "text/plain; charset=utf-8"
                    headers["content-length"] = str(len(text))
                    message = {**message, "body": text}
                await send(start)
            await send(message)

        await self._app(scope, receive, explain)
