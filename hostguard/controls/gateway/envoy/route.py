"""Routes: what is tried again, and where a try leads."""

from __future__ import annotations

import math

from hostguard.controls.gateway.envoy.cluster import WAIT
from hostguard.controls.gateway.envoy.tree import Tree, duration, typed
from hostguard.policy.gateway import Retry, Upstream

READY = "/.hostguard/ready"
"""The path that every provider's listener answers by itself, with 204: for a balancer in front, which is to ask the
very place that it sends requests to. It tells of the proxy and not of the provider: one that fails is down behind all
gateways at once, and a balancer that took them all out would hide why."""


def routes(up: Upstream) -> list[Tree]:
    """First what is answered here; then what may reach a provider once only: no safe method, and no key by which the
    provider knows it again."""
    once = [_header(":method", "|".join(up.retry.safe))] if up.retry.safe else []
    if up.retry.idempotency_header is not None:
        once.append(_header(up.retry.idempotency_header, ".+"))
    # 204 is the one good answer that needs no body, and so fits every schema.
    ready = {"match": {"path": READY}, "direct_response": {"status": 204}}
    return [ready, _route(up, once, safe=False), _route(up, [], safe=True)]


def _header(name: str, regex: str) -> Tree:
    """A header that does not match this. One that is missing is an empty one: else it would match nothing, inverted or
    not."""
    match = {"string_match": {"safe_regex": {"regex": regex}}, "invert_match": True}
    return {"name": name, "treat_missing_header_as_empty": True, **match}


def _route(up: Upstream, headers: list[Tree], *, safe: bool) -> Tree:
    action: Tree = {**_leads(up), "timeout": duration(up.total), "auto_host_rewrite": True}
    if up.retry.tries > 1:
        action["retry_policy"] = _retries(up, safe=safe)
    route: Tree = {"match": {"prefix": "/", "headers": headers}, "route": action}
    if not up.payload.stream:  # of requests that may be sent again, and of answers that are waited for
        route["request_body_buffer_limit"] = max(up.payload.request_max, up.payload.response_max)
    return route


def _leads(up: Upstream) -> Tree:
    """To its cluster; where there are two, by the number of the try: new, old, new, old."""
    if len(up.clusters) == 1:
        return {"cluster": up.name}
    tries = [up.clusters[at % 2] for at in range(up.retry.tries)]
    groups = [
        {"name": f"{at}-{name}", "clusters": [{"cluster_name": name, "weight": 1}]} for at, name in enumerate(tries)
    ]
    kind = "extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
    chosen = typed("envoy.router.cluster_specifier_plugin.priority_group", kind, priority_groups=groups)
    return {"inline_cluster_specifier_plugin": {"extension": chosen}}


def _retries(up: Upstream, *, safe: bool) -> Tree:
    # `reset` stands for a provider's reset and for the time of a try that is over: there is no switch for each.
    again = ["connect-failure", "refused-stream", "reset-before-request"]
    again += ["reset"] if safe and up.retry.timeouts else []
    policy: Tree = {
        "num_retries": up.retry.tries - 1,
        "per_try_timeout": duration(up.per_try),
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
    if worth := _worth(up, safe=safe):
        again.append("retriable-headers")
        policy["retriable_headers"] = [{"name": WAIT, "string_match": {"safe_regex": {"regex": worth}}}]
    if seconds(up.retry):
        after = {"name": "Retry-After", "format": "SECONDS"}
        longest = duration(up.retry.wait_max)
        policy["rate_limited_retry_back_off"] = {"reset_headers": [after], "max_interval": longest}
    if len(up.hosts) > 1:
        policy["retry_priority"] = typed(
            "envoy.retry_priorities.previous_priorities",
            "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=len(up.clusters),  # each region is asked with both keys
        )
    if len(up.clusters) > 1:
        policy["refresh_cluster_on_retry"] = True
    return {"retry_on": ",".join(again), **policy}


def _worth(up: Upstream, *, safe: bool) -> str:
    """Status and Retry-After of an answer after which it is tried again; "" for none. A 202 may have a Retry-After too.
    What was answered 401 was not done, whatever its method; so is the old key's, since the try before it may have
    failed for another reason.

    Envoy takes no notice of a Retry-After that is longer than the longest it waits, and would try again at once. So
    such an answer is handed on, but for one that another region may do better.
    """
    wait = seconds(up.retry)
    limited = [f"429;({wait})"] if wait else []
    broken = ["50[234];" + (".*" if len(up.hosts) > 1 else f"({wait})?")] if safe else []
    refused = ["401;.*"] if len(up.clusters) > 1 else []
    return "|".join([*limited, *broken, *refused])


def seconds(retry: Retry) -> str:
    """A regular expression for the whole numbers from 1 to the longest wait, which is below 60; "" for none."""
    tens, units = divmod(math.floor(retry.wait_max), 10)
    if not tens:
        return f"[1-{units}]" if units else ""
    below = "[1-9]" if tens == 1 else f"[1-9]|[1-{tens - 1}][0-9]"
    return f"{below}|{tens}[0-{units}]"
