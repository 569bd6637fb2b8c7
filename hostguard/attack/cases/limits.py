"""What no rule of a host can hold, and is not tried: who, what, and what does hold it."""

from __future__ import annotations

LIMITS: tuple[tuple[str, str, str], ...] = (
    ("root with CAP_SETUID", "becomes the proxy's account, and reaches the providers",
     "the destinations still hold; a service that needs no root gets none (`User=`, `NoNewPrivileges=`)"),
    ("root with CAP_NET_ADMIN", "changes the rules, sets, routes, NAT or queueing disciplines; mirrors packets (tc), "
     "rewrites them (BPF), or takes the interface away from the host (a namespace of its own)",
     "`hostguard audit` finds rules, sets, NAT and nft's chains that differ; tc and BPF it does not read. Keep the "
     "capability from services (`CapabilityBoundingSet=`)"),
    ("root with CAP_SYS_MODULE or CAP_BPF", "runs code in the kernel", "nothing on the host"),
    ("whoever may reach a sanctioned destination", "sends data to it, or by way of it",
     "what stands there: a proxy that looks inside, a resolver that filters"),
    ("whoever may reach a sanctioned destination", "asks its router to send a packet on: a source route or a routing "
     "header behind a sanctioned first hop", "routers, which drop source routes (RFC 7126, RFC 5095)"),
    ("any account of a virtual machine", "talks to the hypervisor by AF_VSOCK, which is no network",
     "the hypervisor; no vsock device; `RestrictAddressFamilies=`"),
    ("any account", "talks to a local service that is sanctioned more (a Unix socket, the port of a proxy)",
     "that service: who may ask it is its to say. The gateway's ports and sockets are their accounts' alone"),
    ("an account that may use a provider", "sends to that provider what it likes",
     "the provider. Another one it does not reach, whatever host a request names"),
    ("root with CAP_NET_RAW", "hands the loopback device packets of a connection to the gateway's port",
     "nothing on the host: root without CAP_SETUID is still root. Keep the capability from services"),
    ("any account", "modulates what is sanctioned: timing, sizes, which name is asked for", "nothing on the host"),
    ("a device of root's own", "sends by an interface that is no network's: a serial line, Bluetooth, CAN",
     "the kernel's configuration, and who may open devices"),
)  # fmt: skip
