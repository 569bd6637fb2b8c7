"""What the gateway counts, and what of it is told to whoever may read its metrics (pure).

Envoy has some 45 KiB for each provider. About a fifth is told: what monitoring/ asks for, and what explains it. But for
counters of a status all are there from the start, at 0: one that first appears at 1 has not risen, no alert sees it.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote

from hostguard.policy.gateway import Upstream

Tree = dict[str, Any]
SCOPE = "hostguard"
BUCKETS = (5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000)
"""Of every histogram, in milliseconds: the first byte and the whole are compared with each other."""
HISTOGRAMS = ("ttfb", "upstream_rq_time", "upstream_cx_connect_ms", "downstream_rq_time")
FIRST_BYTE = "%COMMON_DURATION(US_TX_END:US_RX_BEG:ms)%"
REGION, ORDER = "%UPSTREAM_HOST_NAME_WITHOUT_PORT%", "order"
"""The host that was asked, and the key of its endpoint's metadata with its place in the policy, from 1."""
PROVIDER = r"^(?:cluster|http)\.((.+?)(?:-old|-token)?\.)"
"""The label `provider` of what Envoy counts for each cluster and each listener. No provider's name ends so
(policy/grammar.py)."""
OURS = ("cluster.admin.", "http.admin.", "http.metrics.")
"""The way of the metrics themselves, which is no provider's."""
SET: Tree = {"set": {"log_type": "DownstreamEnd"}}
REFUSALS = "update_(?:success|rejected|failure)"
OF_A_CLUSTER = (
    r"(?:retry\.)?upstream_rq_(?:401|429|[1-5]xx)",
    r"upstream_rq_(?:total|active|pending_active|time|timeout|per_try_timeout|rx_reset)",
    r"upstream_rq_(?:pending|active|retry)_overflow",
    r"upstream_rq_retry(?:_success|_limit_exceeded|_backoff_ratelimited)?",
    r"retry_or_shadow_abandoned",
    r"upstream_cx_(?:active|overflow|connect_ms|connect_fail|connect_timeout|destroy_remote_with_active_rq)",
    r"membership_(?:healthy|total)",
    r"update_(?:success|failure)",
    r"outlier_detection\.ejections_(?:active|enforced_total)",
    r"circuit_breakers\.default\.(?:\w+_open|remaining_(?:cx|rq|pending|retries))",
    r"ssl\.(?:handshake|connection_error|fail_verify_(?:error|san|no_cert))",
    r"ssl\.certificate\..+",
    r"credential_injector\.(?:injected|failed)",
)
TOLD = (
    rf"{SCOPE}\..+",
    r"http\.[^.]+\.downstream_(?:rq_(?:total|active|time|[1-5]xx)|cx_active)",
    rf"cluster\.[^.]+\.(?:{'|'.join(OF_A_CLUSTER)})",
    r"server\.(?:live|uptime|concurrency|memory_heap_size|memory_physical_size|total_connections)",
    r"overload\..+\.(?:pressure|active)",
    rf"listener_manager\.(?:lds\.(?:{REFUSALS})|listener_create_failure|total_listeners_active)",
    rf"cluster_manager\.(?:cds\.(?:{REFUSALS})|active_clusters)",
    rf"sds\.[^.]+\.(?:{REFUSALS}|key_rotation_failed)",
)
"""By Envoy's own names. Of statuses only those that an alert asks for: a provider may answer with any."""
SCRAPED = "/stats/prometheus?filter=" + quote(f"^(?:{'|'.join(TOLD)})$", safe="")


def stats_config() -> Tree:
    return {
        "stats_tags": [{"tag_name": "provider", "regex": PROVIDER}],
        "stats_matcher": {"exclusion_list": {"patterns": [{"prefix": prefix} for prefix in OURS]}},
        "histogram_bucket_settings": [{"match": {"contains": name}, "buckets": list(BUCKETS)} for name in HISTOGRAMS],
    }


def of_requests(up: Upstream) -> Tree:
    """What is counted of every request to a provider, beside Envoy's own; and what the policy wants of it, which
    alerts compare it with.

    Envoy calls this logger unfit for peers that are not trusted. None has a word in it: a value is a time, a constant
    or the end of a certificate that was verified; a label is a name of the policy or one of Envoy's own flags.
    """
    region = {"region": REGION, "order": f"%METADATA(UPSTREAM_HOST:{SCOPE}:{ORDER})%"}
    return {
        "stats_scope": {"prefix": SCOPE},
        # Envoy's own time of a request goes on until the last byte.
        "histograms": [{**_stat(up, "ttfb"), "unit": "Milliseconds", "value_format": FIRST_BYTE}],
        "counters": [{**_stat(up, "requests", flags="%RESPONSE_FLAGS%", **region), "value_fixed": 1}],
        "gauges": [
            {**_stat(up, "objective_p99_ms"), **SET, "value_fixed": math.ceil(up.p99 * 1000)},
            {**_stat(up, "objective_errors_ppm"), **SET, "value_fixed": max(1, round(up.errors * 1_000_000))},
            # Nothing else of Envoy's tells it: /certs has its own certificates only.
            {**_stat(up, "certificate_ends", region=REGION), **SET, "value_format": "%UPSTREAM_PEER_CERT_V_END(%s)%"},
        ],
    }


def _stat(up: Upstream, name: str, **labels: str) -> Tree:
    tags = [{"name": label, "value_format": value} for label, value in {"provider": up.name, **labels}.items()]
    return {"stat": {"name": name, "tags": tags}}
