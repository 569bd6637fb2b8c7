"""Hardens Linux hosts that call third-party APIs, proves it, and always keeps a way back."""

__version__ = "0.1.0"
