"""The gateway's figures: beside other proxies, its changes under load, its memory, and its part of an apply."""
