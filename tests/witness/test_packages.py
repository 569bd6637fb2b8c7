"""What users install: the wheel, and the collection as ansible-galaxy packs it. Neither sees the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from hostguard import __version__
from tests.lab import Lab
from tests.lab.fleet import Fleet
from tests.lab.network import inside
from tests.lab.process import call
from tests.witness.playbook import ANSIBLE, wanted, write

CHECKOUT = Path(__file__).parents[2]
# Where everything but hostguard comes from: a path of our own environment's, whose editable hostguard stays unseen.
LIBRARIES = sysconfig.get_path("purelib")

needs_lab = pytest.mark.needs("lab")


def environment(folder: Path) -> Path:
    """The Python of a fresh environment that has the libraries, and no hostguard."""
    call([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(f"{LIBRARIES}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    call([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(CHECKOUT)])
    (wheel,) = folder.glob("*.whl")
    python = environment(folder / "venv")
    call([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)])
    return python


@pytest.fixture(scope="module")
def galaxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which ansible-galaxy installed what it built of the checkout."""
    folder = tmp_path_factory.mktemp("galaxy")
    program = [*ANSIBLE, "galaxy", "collection"]
    call([*program, "build", "--output-path", str(folder), str(CHECKOUT)])
    (packed,) = folder.glob("*.tar.gz")
    call([*program, "install", str(packed), "-p", str(folder / "collections"), "--offline"])
    return folder / "collections"


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(lab, tmp_path_factory.mktemp("packages"), ["packages"])


def unconfigured() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def check(fleet: Fleet, python: Path | str, env: Mapping[str, str]) -> str:
    """Run the role in check mode, from a folder that has nothing of ours."""
    playbook = write(fleet.folder, ["hostguard"], {"hostguard_policy": wanted()})
    argv = [*inside(fleet.lab.world.name), str(python), "-m", "ansible", "playbook", "--check", "-v",
            "--inventory", str(fleet.inventory), str(playbook)]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=fleet.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_collection_has_the_version_of_the_package() -> None:
    assert f"version: {__version__}\n" in (CHECKOUT / "galaxy.yml").read_text()


def test_the_wheel_has_the_manual_page_where_man_looks(installed: Path) -> None:
    page = installed.parents[1] / "share" / "man" / "man1" / "hostguard.1"
    assert page.read_bytes() == (CHECKOUT / "docs" / "hostguard.1").read_bytes()


def test_a_wheel_is_a_collection_too(installed: Path, tmp_path: Path) -> None:
    def say(*arguments: str) -> str:
        argv = [str(installed), "-m", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=unconfigured(), cwd=tmp_path)
        return done.stdout

    assert ["hostguard.hostguard", __version__] in words(say("ansible", "galaxy", "collection", "list"))
    assert "service_slices" in say("ansible", "doc", "-t", "role", "-l", "hostguard.hostguard")
    assert "confirm_within" in say("ansible", "doc", "hostguard.hostguard.apply")
    assert "hostguard_policy" in say("ansible", "doc", "-t", "role", "hostguard.hostguard.kernel_tuning")
    assert say("hostguard", "checks")


def test_an_editable_install_has_no_copies() -> None:
    """They would hide the checkout's own plugins and roles."""
    assert not Path(LIBRARIES, "ansible_collections", "hostguard").exists()


@needs_lab
def test_the_role_runs_from_a_wheel_with_no_configuration(fleet: Fleet, installed: Path) -> None:
    said = check(fleet, installed, unconfigured())
    assert "would change" in said


@needs_lab
def test_the_role_runs_from_what_galaxy_installed(fleet: Fleet, galaxy: Path, tmp_path: Path) -> None:
    """Its Python package is in the collection: the controller's own Python has none."""
    listed = call([*ANSIBLE, "galaxy", "collection", "list", "-p", str(galaxy)]).stdout
    assert ["hostguard.hostguard", __version__] in words(listed)
    python = environment(tmp_path / "venv")
    said = check(fleet, python, {**unconfigured(), "ANSIBLE_COLLECTIONS_PATH": str(galaxy)})
    assert "would change" in said
