"""Write docs/troubleshooting.md from the rules of the diagnosis: `python -m hostguard.diagnose.page`.

With `--check` nothing is written, and the exit code is 1 where the page is not what it would be.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from hostguard import generated
from hostguard.control import ARTICLE_TITLE
from hostguard.diagnose import shown
from hostguard.diagnose.diagnosis import Diagnosis, HostDiagnosis
from hostguard.diagnose.rule import Asked, Finding, Rule
from hostguard.diagnose.rules import RULES, open_files
from hostguard.policy.load import load

EXAMPLE = generated.ROOT / "examples" / "hostguard.yml"
PAGE = generated.ROOT / "docs" / "troubleshooting.md"
HEAD = """\
<!-- Written by `python -m hostguard.diagnose.page` from hostguard/diagnose/rules. -->
# Troubleshooting

`hostguard diagnose` looks at a host once, and says which of these faults it has: what was seen, in which file or
counter, what it means for an application, and the policy's key that mends it. `hostguard diagnose payments` looks at
one provider, a service of the policy or a unit; `--host` and `-i` at other hosts.

It changes nothing. It sends one question to each name server and time server of the policy, and opens one connection to
each place that the policy names one by one, by the account that may. With `--no-probe` it sends nothing, and says what
it can't tell then.

```
EXAMPLE
```

Exit code 1: something is found. 3: something could not be read, and nothing is found. What could not be read is said,
and is never well. Where a finding is only *likely*, it says what else looks the same. "The article" is
"ARTICLE_TITLE".
"""


def page() -> str:
    head = HEAD.replace("ARTICLE_TITLE", ARTICLE_TITLE).replace("EXAMPLE", _example())
    return "\n".join([head, _symptoms(), *map(_section, RULES)])


def _example() -> str:
    """What is told of a process that is nearly out of files."""
    asked = Asked(load(EXAMPLE))
    full = {"pid": 812, "command": "envoy", "unit": "envoy.service", "account": "envoy", "files": 971, "soft": 1024}
    found = open_files.RULE.judges(asked, {"files": {"counted": 90, "full": [full]}})
    findings = tuple((open_files.RULE.id, each) for each in found if isinstance(each, Finding))
    host = HostDiagnosis("web1", findings, loaded=asked.loaded)
    return shown.table(Diagnosis("", asked, (host,)), width=80).rstrip("\n")


def _symptoms() -> str:
    """Each symptom with the faults that show it."""
    of: dict[str, list[Rule]] = {}
    for rule in RULES:
        for symptom in rule.symptoms:
            of.setdefault(symptom, []).append(rule)
    rows = [
        generated.row((f"`{symptom}`", ", ".join(f"[{rule.id}](#{rule.id})" for rule in of[symptom])))
        for symptom in sorted(of, key=str.casefold)
    ]
    return "\n".join(["## By what you see\n", "| what you see | look at |", "|---|---|", *rows, ""])


def _section(rule: Rule) -> str:
    return "\n".join(_lines(rule)) + "\n"


def _lines(rule: Rule) -> Iterator[str]:
    yield f'<a id="{rule.id}"></a>'
    yield f"## {rule.title}\n"
    yield _filled(f"You see {', '.join(f'`{symptom}`' for symptom in rule.symptoms)}.") + "\n"
    if rule.article:
        yield _filled(f"In the article: *{rule.article}*.") + "\n"
    yield _filled(f"**What it means.** {rule.means}") + "\n"
    yield "By hand:\n"
    yield f"```\n{rule.by_hand}\n```\n"
    yield _filled(f"**Mend.** {rule.mend}") + "\n"
    yield _filled(f"`hostguard diagnose` ({rule.id}) looks at {rule.looks_at}.")


def _filled(text: str) -> str:
    parts = text.split("`")
    parts[::2] = ["".join(f"\\{letter}" if letter in "_[]<>#" else letter for letter in part) for part in parts[::2]]
    return textwrap.fill("`".join(parts), 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(generated.keep({PAGE: page()}, sys.argv[1:]))
