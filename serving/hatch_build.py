"""Adds the explorer page from clients/web of the repository to the package."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGE = "latens_serving/transports/http/page"


class PageHook(BuildHookInterface):
    """Adds clients/web to wheels and source archives built from a checkout.

    A source archive holds the page already, so a wheel built from one finds nothing to add.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root).parent / "clients" / "web"
        if version != "editable" and source.is_dir():
            build_data["force_include"][str(source)] = PAGE
