"""A recipe is checked whole before anything starts."""

from pathlib import Path

import pytest

from training.recipe import load
from training.rows import DataError

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


@pytest.mark.parametrize("name", ["guard.yaml", "guard_more.yaml", "guard_loso.yaml"])
def test_recipes_that_ship_are_sound(name):
    """Each shipped recipe loads, and keeps sources of unclear licence out by name too."""
    recipe = load(RECIPES / name)
    assert not {s for s in recipe.sources if s.startswith(("tweeteval", "t0"))}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[MIT]", "[MIT, CC-BY-NC-4.0]", "may not enter shipped weights"),
        ("lr: 1.0e-4", "lr: 3.0e-4", "lr"),
        ("{harm: [input],", "{vibes: [input],", "unknown categories"),
        ("seed: 3", "sed: 3", "sed"),
        ("layers: 2", "layers: 2, package: a==1", "either"),
        ("{train: 0.6, validation: 0.4}", "{train: 0.6}", "shares"),
    ],
)
def test_a_bad_recipe_is_refused(recipe_file, old, new, said):
    """A licence off the list, a learning rate that collapses, an unknown head or field: told, not trained."""
    recipe_file.write_text(recipe_file.read_text().replace(old, new))
    with pytest.raises(DataError, match=said):
        load(recipe_file)
