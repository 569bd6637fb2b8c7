"""hostguard schema: the policy's JSON Schema, for editors."""

from __future__ import annotations

import typer


def command() -> None:
    """Print the policy's JSON Schema.

    An editor with a YAML language server completes and checks a policy by it: save it beside the policy, and begin the
    policy with `# yaml-language-server: $schema=hostguard.schema.json`, as `hostguard init` does.
    """
    import json

    from hostguard.policy.schema import schema

    typer.echo(json.dumps(schema(), ensure_ascii=False, indent=2))
