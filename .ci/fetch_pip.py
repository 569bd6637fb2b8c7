"""Install pip into this environment from its own wheel, where Debian has no ensurepip."""

import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

with urllib.request.urlopen("https://pypi.org/pypi/pip/json", timeout=60) as answer:
    files = json.load(answer)["urls"]
wheel = next(file for file in files if file["filename"].endswith(".whl"))
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / wheel["filename"]
    with urllib.request.urlopen(wheel["url"], timeout=60) as answer:  # noqa: S310 - as PyPI says
        path.write_bytes(answer.read())
    subprocess.run([sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True)
