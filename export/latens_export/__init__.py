"""Exports variational autoencoders as verified bundles: see `write_bundle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latens_export.bundling import BundleOptions, WrittenBundle, write_bundle

__all__ = ["BundleOptions", "WrittenBundle", "write_bundle"]


def __getattr__(name: str) -> Any:
    """Imports torch only when something of it is used: `latens-export --help` is quick."""
    if name in __all__:
        from latens_export import bundling

        return getattr(bundling, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
