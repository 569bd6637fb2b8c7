"""shellcheck on every shell script here, as the shell reads it: templates and texts in other files are rendered.

A file is one by its shebang; what hostguard writes on a host, by the `/bin/sh` that runs it; the rest by the key under
which Ansible, GitHub and GitLab take shell.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from hostguard.bundle import compile_policy
from hostguard.policy.load import load
from hostguard.target import payload

CHECKOUT = Path(__file__).parents[2]
SHEBANG = re.compile(r"#!\s*(?:/usr)?/bin/(?:env )?(bash|dash|sh)\b")
EXPRESSION = re.compile(r"\$?\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
RUN_BY_SH = re.compile(r"\b(?:/bin/)?sh (/[\w./-]+)")
INLINE = re.compile(r"\b(?:/bin/)?sh -c '([^']*)'")
UNKNOWN = "1"
"""What stands for an expression whose value only a run knows: a word, a number, a part of a name."""
POLICY = CHECKOUT / "examples" / "hostguard.yml"
VARIANTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"egress": {"frames": "allow"}},
    {"egress": {"containers": "same"}},
    {"egress": {"providers": {"payments": {"hosts": ["api.provider.com"]}}}},
)
"""What the example policy is refined with, so that each branch of the templates is seen."""


@dataclass(frozen=True)
class Script:
    name: str
    text: str
    dialect: str = "sh"


def scripts() -> Iterator[Script]:
    paths = [CHECKOUT / name for name in _git("ls-files", "--cached", "--others", "--exclude-standard")]
    for path in filter(Path.is_file, paths):
        name, text = str(path.relative_to(CHECKOUT)), path.read_text(encoding="utf-8", errors="replace")
        if found := SHEBANG.match(text):
            yield Script(name, text, found[1])
        elif path.suffix == ".py":
            yield from in_python(name, text)
        elif path.suffix in (".yml", ".yaml"):
            yield from in_yaml(name, text)
    for role in sorted((CHECKOUT / "roles").iterdir()):
        yield from in_role(role)
    for variant in VARIANTS:
        yield from on_a_host(variant)
    yield Script("hostguard/target/payload.py: what a host is asked with", payload.command())


def in_python(name: str, text: str) -> Iterator[Script]:
    """Strings that begin with a shebang."""
    inner = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            inner.update(map(id, node.values))
            said = "".join(str(part.value) if isinstance(part, ast.Constant) else UNKNOWN for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            said = node.value
        else:
            continue
        if found := SHEBANG.match(said):
            yield Script(f"{name}:{node.lineno}", said, found[1])


class AnyTag(yaml.SafeLoader):
    """Tags are other people's: Ansible's `!vault`, GitLab's `!reference`."""


AnyTag.add_multi_constructor("!", lambda *_: None)


def in_yaml(name: str, text: str) -> Iterator[Script]:
    """Tasks of ansible.builtin.shell, and the lines of a pipeline."""
    for document in yaml.load_all(text, Loader=AnyTag):
        yield from (Script(name, EXPRESSION.sub(UNKNOWN, said), dialect) for said, dialect in _said(document))


def _said(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            match key, value:
                case "ansible.builtin.shell", str():
                    yield value, Path(node.get("args", {}).get("executable", "sh")).name
                case "ansible.builtin.shell", {"cmd": str(command)}:
                    yield command, Path(value.get("executable", "sh")).name
                case "run", str():  # GitHub's
                    yield value, "bash"
                case "before_script" | "script" | "after_script", list():  # GitLab's
                    yield "\n".join(value), "bash"
                case _:
                    yield from _said(value)
    elif isinstance(node, list):
        for each in node:
            yield from _said(each)


def in_role(role: Path, root: Path = CHECKOUT) -> Iterator[Script]:
    """The templates of a role under its defaults."""
    loader = DataLoader()
    variables = {"ansible_managed": "Ansible managed"}
    for place in ("defaults", "vars"):
        if (path := role / place / "main.yml").exists():
            variables |= loader.load_from_file(str(path), trusted_as_template=True) or {}
    for path in sorted(role.glob("templates/*.j2")):
        template = trust_as_template(path.read_text(encoding="utf-8"))
        rendered = Templar(loader, variables=variables).template(template, fail_on_undefined=False)
        name = str(path.relative_to(root))
        if found := SHEBANG.match(str(rendered)):
            yield Script(name, str(rendered), found[1])
        yield from (Script(name, line) for line in INLINE.findall(str(rendered)))


def on_a_host(variant: Mapping[str, Any]) -> Iterator[Script]:
    """What hostguard writes on a host and has `/bin/sh` run."""
    wanted = compile_policy(load(POLICY, [("variant", variant)])).resources
    files = {each["path"]: each["content"] for each in wanted if each["kind"] == "file"}
    for path, text in files.items():
        yield from (Script(f"on a host, in {path}", line) for line in INLINE.findall(text))
        for run in RUN_BY_SH.findall(text):
            yield Script(f"on a host, {run}", files[run])


def check(found: Iterable[Script]) -> str:
    """What shellcheck says of them: a line a finding, with the script's name; "" for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for number, script in enumerate(dict.fromkeys(found)):
            path = Path(folder, f"{number}.{script.dialect}")
            path.write_text(script.text, encoding="utf-8")
            names[path.name] = script
        said = ""
        for dialect in sorted({script.dialect for script in names.values()}):
            argv = [str(Path(sys.executable).with_name("shellcheck")), "--norc", "--format=gcc", f"--shell={dialect}"]
            argv += [name for name, script in names.items() if script.dialect == dialect]
            said += subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder).stdout
    return re.sub(r"^([^:]+)", lambda match: names[match[1]].name, said, flags=re.MULTILINE)


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    return done.stdout.splitlines()


def lint() -> int:
    found = list(scripts())
    said = check(found)
    print(said or f"shellcheck: {len(found)} scripts, nothing found")
    return int(bool(said))
