"""Install pip into this environment from its own wheel, where Debian has no ensurepip: the one that is locked."""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

LOCKED = pathlib.Path(__file__).with_name("locked") / "build.txt"

pinned = re.search(r"^pip==\S+(?: \\\n +--hash=sha256:\w+)+", LOCKED.read_text(), re.MULTILINE)
hashes = re.findall(r"sha256:(\w+)", pinned[0]) if pinned else []
# PyPI's index as JSON: PEP 691.
as_json = {"Accept": "application/vnd.pypi.simple.v1+json"}
index = urllib.request.Request("https://pypi.org/simple/pip/", headers=as_json)
with urllib.request.urlopen(index, timeout=60) as answer:  # noqa: S310 - https, as written above
    files = json.load(answer)["files"]
wheels = [file for file in files if file["filename"].endswith(".whl") and file["hashes"].get("sha256") in hashes]
if not wheels:
    sys.exit(f"the package index has no wheel of pip with a hash that {LOCKED} names: run `make lock`")
with urllib.request.urlopen(wheels[0]["url"], timeout=60) as answer:  # noqa: S310 - as the index says
    content = answer.read()
if hashlib.sha256(content).hexdigest() not in hashes:
    sys.exit(f"{wheels[0]['url']} is not the file that {LOCKED} has the hash of: not installed")
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / pathlib.PurePath(wheels[0]["filename"]).name
    path.write_bytes(content)
    subprocess.run([sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True)
