"""hostguard.hostguard.secret_agent_login: plugins/modules/secret_agent_login.py says what it does."""

from __future__ import annotations

from ansible_collections.hostguard.hostguard.plugins.plugin_utils.package import action

ActionModule = action("login", "SecretAgentLogin")
