"""The gateway: the proxy between applications and providers, and all that makes it hold."""

from __future__ import annotations

from hostguard.control import Area

AREA = Area(
    name="gateway",
    controls=(),
    least={"providers": {"provider": {"users": ["app"], "listen": 84}}},
    without="leave the provider out of `gateway.providers`, or `gateway` out as a whole: the next apply gives it back",
    role="gateway",
    does="The proxy between applications and providers",
    reads=("capacity", "egress", "limits", "platform", "slices"),
)
