"""The table of Envoy's flags holds every flag of the real one, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hostguard.response_flags import FLAGS
from tests.gateway import minimal
from tests.gateway.proxy import validated

pytestmark = pytest.mark.needs("envoy")


def test_the_table_has_the_flags_that_envoy_takes(tmp_path: Path) -> None:
    """It lists them to whoever names another."""
    listener, cluster = minimal.listener("a", 8499, "c"), minimal.cluster("c", 8498)
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    log = {"@type": minimal.TYPES + "extensions.access_loggers.stream.v3.StdoutAccessLog"}
    manager["access_log"] = [
        {"name": "l", "filter": {"response_flag_filter": {"flags": ["OTHER"]}}, "typed_config": log}
    ]
    for each in (listener, cluster):
        del each["@type"]
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    said = validated(path)
    listed = re.search(r"value must be in list \[([A-Z ]+)\]", said.stdout + said.stderr)
    assert listed, said
    assert set(listed[1].split()) == FLAGS.keys()
