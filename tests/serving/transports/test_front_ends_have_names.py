"""A front end is chosen by name; the old name of `http2` holds until version 1.0."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from latens_serving.settings import Settings


def test_fast_is_another_name_for_http2() -> None:
    assert Settings(frontend="fast").frontend == "http2"  # type: ignore[arg-type]
    assert Settings(frontend="http2").frontend == "http2"
    with pytest.raises(ValidationError, match="'grpcio' or 'http2'"):
        Settings(frontend="faster")  # type: ignore[arg-type]
