"""Why a version could not be loaded, in words that may leave the server."""

from __future__ import annotations

import logging
import re

from latens_serving.errors import BundleRefusedError

log = logging.getLogger(__name__)

_ABSOLUTE_PATH = re.compile(r"(?<![\w.])(?:/[^\s/:'\"]+)+/([^\s/:'\"]+)")


def reason_of(error: Exception, model: str, version: int) -> str:
    """Logs why a load failed, and returns the reason for callers.

    A refusal is a sentence of ours. The text of any other error may hold anything, so callers are
    told its kind only.
    """
    facts = {"model": model, "version": version}
    if isinstance(error, BundleRefusedError):
        log.error("model refused", extra={"facts": facts | {"reason": str(error)}})
        return without_paths(str(error))
    reason = f"could not be loaded ({type(error).__name__}); the server's log has the details"
    log.error("model refused", extra={"facts": facts | {"reason": reason}}, exc_info=error)
    return reason


def without_paths(text: str) -> str:
    """Cuts each absolute path down to its last part."""
    return _ABSOLUTE_PATH.sub(r"\1", text)
