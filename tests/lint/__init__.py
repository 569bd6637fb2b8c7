"""Linters that want more than their command: what they look at has to be found, rendered or packed first."""
