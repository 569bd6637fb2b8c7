"""One line of the gateway's log. Providers have a hand in what stands there: each field is looked at, and cut."""

from __future__ import annotations

import calendar
import json
import re
import time
from typing import Any, Dict, Optional

AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)


def line(raw: bytes) -> Optional[Dict[str, Any]]:
    """None for what is cut, or not Envoy's."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def text(said: Any, longest: int) -> str:
    return said[:longest] if isinstance(said, str) else ""


def moment(said: Any) -> Optional[float]:
    """Seconds since 1970; None for no time."""
    if not isinstance(said, str) or not AT.fullmatch(said):
        return None
    try:
        whole = calendar.timegm(time.strptime(said[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    return whole + float("0" + said[19:-1]) if len(said) > 20 else float(whole)
