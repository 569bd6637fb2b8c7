"""The hosts of an inventory as ansible itself reads it, each with a connection of ansible's: static, dynamic, or a list
with commas; over ssh, or whatever else a plugin speaks.

A question that changes nothing needs no playbook: it would cost a process for every host, and the answers have nothing
to wait for. What ansible does for a task is done here by its own classes, in its order (TaskExecutor in ansible-core).
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

try:
    from ansible.cli import CLI
    from ansible.cli.adhoc import AdHocCLI
except SystemExit as refused:  # a locale that is not UTF-8, say
    raise ImportError(str(refused)) from None
from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import AnsiblePlugin
from ansible.plugins import loader as plugins
from ansible.plugins.connection import ConnectionBase
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from hostguard.ansible.actions.host import Host as HostAction
from hostguard.ansible.actions.task import GivenUp, HostRefused, plain
from hostguard.host.resource import HostError
from hostguard.target.bounded import USUAL, Limits

POLICY = "hostguard_policy"


class InventoryError(Exception):
    """An inventory that can't be used, or a host's variables; the text says why."""


class Unreachable(Exception):
    """There is no way to a host; the text is its connection's."""


class Inventory:
    """`names` of the hosts in the inventory's order. Raises InventoryError where it can't be read, or has none."""

    def __init__(self, sources: Sequence[str], limit: str | None = None) -> None:
        try:
            self._loader = _loader()
            self._inventory = InventoryManager(loader=self._loader, sources=list(sources))
            self._variables = VariableManager(loader=self._loader, inventory=self._inventory)
            if limit:
                self._inventory.subset(limit)
            self.names = [host.get_name() for host in self._inventory.list_hosts("all")]
            task = {"action": "ansible.builtin.raw"}
            play = {"name": "ask", "hosts": "all", "gather_facts": False, "tasks": [task]}
            self._play = Play.load(play, variable_manager=self._variables, loader=self._loader)
        except AnsibleError as error:
            raise InventoryError(str(error)) from None
        if not self.names:
            where = f" that match {limit!r}" if limit else ""
            raise InventoryError(f"{', '.join(sources)}: found no hosts{where}, expected an inventory with some")
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this
        self._context = PlayContext(play=self._play, connection_lockfd=self._lock.fileno())

    def host(self, name: str) -> InventoryHost:
        """One host, ready to be asked. Not to be called from several threads at once.

        Raises InventoryError where its variables can't be used.
        """
        try:
            return self._host(name)
        except AnsibleError as error:
            raise InventoryError(str(error)) from None

    def policy(self, name: str) -> dict[str, Any]:
        """What the inventory says of a host's policy, without all else that reaching it would take.

        Raises InventoryError where that can't be used.
        """
        try:
            variables = self._variables.get_vars(play=self._play, host=self._inventory.get_host(name))
            return _policy(name, variables, Templar(loader=self._loader, variables=variables))
        except AnsibleError as error:
            raise InventoryError(str(error)) from None

    def _host(self, name: str) -> InventoryHost:
        host = self._inventory.get_host(name)
        task = self._play.compile()[0].block[0].copy()
        variables = self._variables.get_vars(play=self._play, host=host, task=task)
        templar = Templar(loader=self._loader, variables=variables)
        settings = self._context.set_task_and_variable_override(task=task, variables=variables, templar=templar)
        settings.post_validate(templar=templar)
        settings.remote_addr = settings.remote_addr or host.address
        connection = _connection(task, settings, variables, templar)
        action = HostAction(task=task, connection=connection, play_context=settings, loader=self._loader,
                            templar=templar, shared_loader_obj=plugins)  # fmt: skip
        return InventoryHost(name, _policy(name, variables, templar), action, action.command(variables))


def _policy(name: str, variables: Mapping[str, Any], templar: Templar) -> dict[str, Any]:
    policy = plain(templar.template(variables.get(POLICY))) or {}
    if not isinstance(policy, dict):
        raise InventoryError(f"{name}: {POLICY}: found {policy!r}, expected a mapping")
    return policy


@functools.cache
def _loader() -> DataLoader:
    """Set ansible up as its own command does, once a process: ansible.cfg, vault passwords, the defaults of options."""
    # Many hosts may not ask one terminal: a host that needs a password is not reached, as with ansible's own workers.
    os.environ.setdefault("SSH_ASKPASS_REQUIRE", "force")
    AdHocCLI(["ansible", "all"]).parse()
    plugins.init_plugin_loader()
    loader = DataLoader()
    files = list(context.CLIARGS["vault_password_files"])
    secrets = CLI.setup_vault_secrets(loader, list(C.DEFAULT_VAULT_IDENTITY_LIST), files, auto_prompt=False)
    loader.set_vault_secrets(secrets)
    return loader


def _connection(task: Task, settings: PlayContext, variables: Mapping[str, Any], templar: Templar) -> ConnectionBase:
    """A host's connection, and how it becomes root, with the options that its variables give them."""

    def said(name: str, default: Any) -> Any:
        return default if variables.get(name) is None else templar.template(variables[name])

    def options(kind: str, plugin: AnsiblePlugin) -> dict[str, Any]:
        names = C.config.get_plugin_vars(kind, plugin._load_name)
        return {name: templar.template(variables[name]) for name in names if name in variables}

    settings.connection = said("ansible_connection", task.connection)
    connection = plugins.connection_loader.get(settings.connection, settings)
    if connection is None:
        raise AnsibleError(f"ansible has no connection plugin {settings.connection!r}")
    if boolean(said("ansible_become", task.become), strict=False):
        method = said("ansible_become_method", task.become_method)
        become = plugins.become_loader.get(method)
        if become is None:
            raise AnsibleError(f"ansible has no become plugin {method!r}")
        connection.set_become_plugin(become)
        settings.set_become_plugin(become.name)
    given = {**task.dump_attrs(), "timeout": settings.timeout}
    given.pop("retries", None)  # the task's, and not the connection's
    connection.set_options(task_keys=given, var_options=connection._resolve_option_variables(variables, templar))
    connection._shell.set_options(task_keys=given, var_options=options("shell", connection._shell))
    if connection.become:
        connection.become.set_options(task_keys=given, var_options=options("become", connection.become))
    return connection


class InventoryHost:
    """`policy` is what the inventory's variable `hostguard_policy` says of it, {} where it says nothing."""

    def __init__(self, name: str, policy: dict[str, Any], action: HostAction, command: str) -> None:
        self.name, self.policy = name, policy
        self._action, self._command = action, command

    def ask(self, request: Mapping[str, Any], limits: Limits = USUAL) -> dict[str, Any]:
        """One round trip, from any thread. Raises Unreachable, or HostError where the host has no answer."""
        try:
            return self._action.ask(request, self._command, limits)
        except (AnsibleConnectionFailure, GivenUp) as error:
            raise Unreachable(str(error)) from None
        except (AnsibleError, HostRefused) as error:
            raise HostError(str(error)) from None
