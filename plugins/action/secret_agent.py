"""hostguard.hostguard.secret_agent: plugins/modules/secret_agent.py says what it does and hostguard/ansible how."""

from __future__ import annotations

from ansible_collections.hostguard.hostguard.plugins.plugin_utils.package import action

ActionModule = action("programs", "SecretAgent")
