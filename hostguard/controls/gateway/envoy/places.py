"""Where the gateway keeps what it has."""

from __future__ import annotations

from dataclasses import dataclass

from hostguard.policy.gateway import FOLDER, LOG, RESOLVER, RUN


@dataclass(frozen=True)
class Places:
    """Where things are on a host; a gateway that is only tried has folders and a resolver of its own."""

    folder: str = FOLDER
    run: str = RUN
    log: str = LOG
    resolver: tuple[str, int] = (RESOLVER, 53)

    @property
    def xds(self) -> str:
        return f"{self.folder}/xds"

    @property
    def trust(self) -> str:
        return f"{self.folder}/trust.json"

    def secret(self, name: str) -> str:
        return f"{self.folder}/secret-{name}.json"

    @property
    def admin(self) -> str:
        return f"{self.run}/admin/admin.sock"

    def socket(self, provider: str) -> str:
        """Where applications connect."""
        return f"{self.run}/{provider}/http.sock"

    def bound(self, provider: str) -> str:
        """Where Envoy binds. It takes a path away before it binds it, and listens later: what applications know is a
        second name of the same socket, which host/takeover.py and host/kinds/xds.py put in the place of the old one.
        """
        return f"{self.run}/{provider}/.http.sock"


HOST = Places()
