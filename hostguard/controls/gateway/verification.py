"""Whether every connection to a provider is to that provider: by CA and by name, and by no TLS that is too old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway import dump
from hostguard.controls.gateway.dump import Tree
from hostguard.policy.gateway import Gateway

VERSIONS = ("TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")
OF_CLIENTS = "TLSv1_2"
"""What Envoy asks for at least where nothing is said (tls_minimum_protocol_version, of clients)."""
PINS = ("verify_certificate_hash", "verify_certificate_spki")


def judges(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    told = said["envoy"]["config_dump"]
    secrets, out = dump.secrets(told), list(dump.clusters(told))
    expected = f"every way out checks the certificate's CA and its name, and speaks TLS {g.tls.min} or later"
    found = [f"{cluster.name} {why}" for cluster in out for why in _of_cluster(cluster.tree, secrets, g.tls.min)]
    if not out:
        found = ["no cluster leads to another host: nothing is verified, since nothing is reached"]
    return verdict(expected, list(dict.fromkeys(found)), f"{len(out)} ways out, and each checks both")


def _of_cluster(cluster: Tree, secrets: Mapping[str, Tree], least: str) -> Iterator[str]:
    chosen = [match["transport_socket"] for match in cluster.get("transport_socket_matches", ())]
    for socket in [*chosen, cluster.get("transport_socket")]:
        yield from _of_socket(socket, secrets, least)


def _of_socket(socket: Tree | None, secrets: Mapping[str, Tree], least: str) -> Iterator[str]:
    config: Tree = socket["typed_config"] if socket else {"@type": "RawBuffer"}
    kind = config["@type"].rpartition(".")[2]
    if kind == "UpstreamTlsContext":
        yield from unverified(config, secrets, least)
    elif "upstream_tls_context" in config:  # QUIC
        yield from unverified(config["upstream_tls_context"], secrets, least)
    elif "transport_socket" in config:  # one within another: PROXY protocol, a tap
        yield from _of_socket(config["transport_socket"], secrets, least)
    elif kind == "RawBuffer":
        yield "speaks no TLS"
    else:
        yield f"speaks by {kind}, of which nothing is known"


def unverified(context: Tree, secrets: Mapping[str, Tree], least: str) -> Iterator[str]:
    """What of an UpstreamTlsContext lets a stranger be taken for the provider."""
    common = context.get("common_tls_context", {})
    checks, lacking = _validation(common, secrets)
    if lacking:
        yield lacking
    else:
        yield from _of_checks(checks, named=context.get("auto_sni_san_validation") is True)
    at_least = common.get("tls_params", {}).get("tls_minimum_protocol_version", "TLS_AUTO")
    at_least = OF_CLIENTS if at_least == "TLS_AUTO" else at_least
    if VERSIONS.index(at_least) < VERSIONS.index(f"TLSv{least.replace('.', '_')}"):
        yield f"takes TLS {at_least.removeprefix('TLSv').replace('_', '.')}"


def _validation(common: Tree, secrets: Mapping[str, Tree]) -> tuple[Tree, str]:
    """What is checked, wherever that is said; or why nobody can tell."""
    combined = common.get("combined_validation_context", {})
    own = common.get("validation_context") or combined.get("default_validation_context") or {}
    named = common.get("validation_context_sds_secret_config") or combined.get("validation_context_sds_secret_config")
    if named is None:
        return own, ""
    secret = secrets.get(named["name"])
    if secret is None:
        return own, f"has not read its CA, the secret {named['name']}"
    return {**own, **secret["validation_context"]}, ""


def _of_checks(checks: Tree, *, named: bool) -> Iterator[str]:
    if checks.get("trust_chain_verification") == "ACCEPT_UNTRUSTED":
        yield "takes certificates that nobody trusts (ACCEPT_UNTRUSTED)"
    if "custom_validator_config" in checks:
        yield "leaves it to a validator of which nothing is known"
        return
    if any(pin in checks for pin in PINS):
        return  # a certificate, or a key, that is written down is the provider's own
    trusted = checks.get("trusted_ca") or any(
        source in checks for source in ("system_root_certs", "ca_certificate_provider_instance")
    )
    if not trusted:
        yield "checks no CA"
    names = [each["matcher"] for each in checks.get("match_typed_subject_alt_names", ())]
    names += checks.get("match_subject_alt_names", ())
    if not names and not named:
        yield "checks no name: a certificate of any other site will do"
    elif any(dump.taken(matcher, dump.STRANGER) for matcher in names):
        yield "takes any name"
