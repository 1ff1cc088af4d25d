"""What holds for every call to a server, by its settings."""

from __future__ import annotations

from typing import Final

from latens_serving.calls.authorization import Scope, Tokens
from latens_serving.calls.boundary import CallPolicy
from latens_serving.settings import Settings

HEALTH: Final = "grpc.health.v1.Health"


def policy_of(settings: Settings, tokens: Tokens, scope: Scope) -> CallPolicy:
    """The policy of a server whose calls need this scope; health needs no token."""
    return CallPolicy(
        tokens=tokens,
        scope=scope,
        max_deadline=settings.max_deadline,
        log_calls=settings.log_calls,
        max_calls=settings.max_calls,
        open_services=(HEALTH,),
    )
