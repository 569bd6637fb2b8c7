"""The gateway by the real Envoy, between an application and providers of the tests: on loopback, with no root."""
