"""Providers that nobody should believe."""

from __future__ import annotations

from hostguard.rehearse.faults.fault import Fault, Key, Numbers, first_unrefused, requests, times
from hostguard.rehearse.faults.result import Way


class _Untrusted(Fault):
    def decides(self, n: Numbers) -> Key:
        return Key("gateway.ca", n.ca)

    def expected(self, n: Numbers) -> str:
        return "503, and no request is sent"

    def wrong(self, n: Numbers, way: Way) -> str:
        if requests(way):
            return f"the request was sent, {times(len(requests(way)))}"
        return first_unrefused(way, n.unconnected)


class Expired(_Untrusted):
    id = "expired"
    title = "its certificate is over since yesterday"
    leaf = "expired"


class OtherName(_Untrusted):
    id = "other-name"
    title = "its certificate has another name"
    leaf = "other-name"


class OtherAuthority(_Untrusted):
    id = "other-ca"
    title = "its certificate is another CA's"
    leaf = "other-ca"


class OldTls(_Untrusted):
    id = "old-tls"
    title = "it speaks TLS 1.1 and nothing newer"
    old_tls = True

    def decides(self, n: Numbers) -> Key:
        return Key("gateway.tls.min", n.tls_min)
