"""A gateway's derived values by hand, for tests of what is made of them."""

from __future__ import annotations

from hostguard.policy.gateway import Gateway, Payload, Retry, Tls, Upstream

UPSTREAM = Upstream(
    name="payments",
    hosts=("api.provider.com", "eu.api.provider.com"),
    port=443,
    users=("shop",),
    listen=84,
    group="shop",
    protocol="auto",
    requests=3200,
    connections=3200,
    pending=1000,
    retries=3200,
    connect=0.25,
    per_try=2.0,
    total=6.0,
    idle=60.0,
    consecutive_5xx=5,
    interval=10.0,
    ejection=30.0,
    percent=100,
    retry=Retry(4, 4.0, ("GET", "HEAD", "OPTIONS"), "Idempotency-Key", True),
    payload=Payload(10 << 20, 10 << 20, 1 << 20, None, ("application/json",), False),
    p99=0.8,
    errors=0.01,
)
GATEWAY = Gateway(
    manage=True,
    program="/usr/bin/envoy",
    sha256=None,
    version_min="1.40",
    account="envoy",
    address="127.0.0.84",
    workers=2,
    tls=Tls("1.2", "1.3", ("ECDHE-ECDSA-AES128-GCM-SHA256",), "/etc/ssl/certs/ca-certificates.crt"),
    connections_max=6400,
    heap_max=400 << 20,
    buffer=32 << 10,
    log="failures",
    metrics_listen=None,
    metrics_users=(),
    drain=10.0,
    upstreams=(UPSTREAM,),
)
