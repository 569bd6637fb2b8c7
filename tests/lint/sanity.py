"""`ansible-test sanity`, all of its tests, on the collection as ansible-galaxy packs it.

Its environments are made once, below .tools, of the packages that ansible-core pins; .ci/locked has their hashes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ansible_test._internal.host_configs import VirtualPythonConfig
from ansible_test._internal.python_requirements import get_venv_packages

CHECKOUT = Path(__file__).parents[2]
HOME = CHECKOUT / ".tools" / "sanity"
WHEELS = HOME / "wheels"
LOCKED = CHECKOUT / ".ci" / "locked" / "sanity.txt"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PROGRAMS = Path(sys.executable).parent
EXCLUDED = ("hostguard/",)
"""The Python package is no plugin: ruff and mypy look at it, and tests run it on the Pythons that hosts have."""


def _fetch() -> None:
    """All that ansible-test is to install. It would neither check a hash nor take pip's installer from the index."""
    if not (WHEELS / LOCKED.name).exists() or (WHEELS / LOCKED.name).read_bytes() != LOCKED.read_bytes():
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
        argv += ["--only-binary", ":all:", "--dest", str(WHEELS), "--requirement", str(LOCKED)]
        subprocess.run(argv, check=True)
        shutil.copy(LOCKED, WHEELS)
    version = get_venv_packages(VirtualPythonConfig(version=PYTHON, path=sys.executable))["pip"]
    place = HOME / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"import runpy\nrunpy.run_path({str(CHECKOUT / '.ci' / 'fetch_pip.py')!r})\n")


def packed(folder: Path) -> Path:
    """Below this folder, the collection as users have it, where ansible-test wants it."""
    argv = [sys.executable, "-m", "ansible", "galaxy", "collection", "build", "--output-path", str(folder)]
    subprocess.run(argv, check=True, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    place = folder / "ansible_collections" / "hostguard" / "hostguard"
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, place)
    return place


def lint() -> int:
    _fetch()
    with tempfile.TemporaryDirectory(prefix="hostguard-sanity-") as folder:
        env = {
            **os.environ,
            "HOME": str(HOME),
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(WHEELS),
        }
        argv = [str(PROGRAMS / "ansible-test"), "sanity", "--python", PYTHON]
        argv += [word for path in EXCLUDED for word in ("--exclude", path)]
        place = packed(Path(folder))
        # What it says of every test that it begins is of use where one fails.
        done = subprocess.run(argv, check=False, env=env, cwd=place, text=True, capture_output=True)
    print(done.stdout + done.stderr if done.returncode else "ansible-test sanity: nothing found")
    return done.returncode
