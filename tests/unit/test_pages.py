"""The pages that are written by hand: the files that they show are as they are now."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostguard import generated
from tests import pages

DOCS = sorted(pages.DOCS.glob("*.md"))


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_the_files_that_a_page_shows_are_shown_as_they_are(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == pages.fresh(page), "run `make docs`"


def test_every_recipe_is_shown_in_full() -> None:
    recipes = (generated.ROOT / "examples" / "recipes").iterdir()
    assert sorted(pages.shown(pages.DOCS / "recipes.md")) == sorted(recipes)
