"""hostguard.hostguard.host: see plugins/modules/host.py for what it does and hostguard/ansible for how."""

from __future__ import annotations

from ansible_collections.hostguard.hostguard.plugins.plugin_utils.package import action

ActionModule = action("host", "Host")
