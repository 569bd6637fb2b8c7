"""hostguard.hostguard.events: what `hostguard -i` reads while a playbook runs."""

from __future__ import annotations

DOCUMENTATION = """
name: events
type: stdout
short_description: One JSON line an event
description: What C(hostguard -i) reads while a playbook runs.
author: hostguard (!UNKNOWN)
"""

from ansible_collections.hostguard.hostguard.plugins.plugin_utils.package import find

find()

from hostguard.ansible.events import Events

CallbackModule = Events
