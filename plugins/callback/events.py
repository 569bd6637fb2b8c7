"""hostguard.hostguard.events: what `hostguard -i` reads while a playbook runs."""

from __future__ import annotations

DOCUMENTATION = """
name: events
type: stdout
short_description: One JSON line an event
description: What C(hostguard -i) reads while a playbook runs.
author: hostguard
"""

from ansible_collections.hostguard.hostguard.plugins.plugin_utils.package import ensure

ensure()

from hostguard.ansible.events import Events as CallbackModule  # noqa: F401 - found by this name
