"""What the gateway puts into a request: a key, or a token."""

from __future__ import annotations

from hostguard.controls.gateway.envoy.secret import NEW, Found
from hostguard.controls.gateway.envoy.tree import Tree, duration, typed
from hostguard.policy.gateway import Credential, OAuth, Upstream

TOKEN_RETRY = 1
"""Seconds until a token is asked for again; the least that Envoy takes. Its first question always fails: it has not
read the secret yet."""


def discreet() -> Tree:
    """Else a token server is told this host's own address, and Envoy's time-out."""
    told = ("x-forwarded-for", "x-envoy-internal", "x-envoy-expected-rq-timeout-ms")
    kind = "extensions.filters.http.header_mutation.v3.HeaderMutation"
    mutations = {"request_mutations": [{"remove": name} for name in told]}
    return typed("envoy.filters.http.header_mutation", kind, mutations=mutations)


def _injected(credential: Tree) -> Tree:
    """Whatever an application sent in this header is overwritten; where there is no key, nothing is sent."""
    kind = "extensions.filters.http.credential_injector.v3.CredentialInjector"
    return typed("envoy.filters.http.credential_injector", kind, overwrite=True, credential=credential)


def key(credential: Credential, secret: Tree) -> Tree:
    generic = typed(
        "envoy.http.injected_credentials.generic",
        "extensions.http.injected_credentials.generic.v3.Generic",
        credential=secret,
        header=credential.header,
        header_value_prefix=credential.prefix,
    )
    return _injected(generic)


def token(up: Upstream, credential: Credential, oauth: OAuth, found: Found) -> Tree:
    secret = found.key(credential.place, NEW)
    oauth2 = typed(
        "envoy.http.injected_credentials.oauth2",
        "extensions.http.injected_credentials.oauth2.v3.OAuth2",
        token_endpoint={"uri": oauth.url, "cluster": up.token_cluster, "timeout": duration(up.per_try)},
        scopes=list(oauth.scopes),
        client_credentials={"client_id": oauth.client_id, "client_secret": secret, "auth_type": "URL_ENCODED_BODY"},
        token_fetch_retry_interval=duration(TOKEN_RETRY),
    )
    return _injected(oauth2)
