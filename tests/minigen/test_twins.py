"""Where PyTorch is installed: recipes train as their twins in PyTorch do, in double precision."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed, there is nothing to compare with")

from tests.benchmarks import theirs
from tests.benchmarks.work import RECIPES, new_recipe


@pytest.mark.parametrize("case", RECIPES)
def test_a_recipe_trains_as_its_twin(case: str) -> None:
    mine = new_recipe(case, "cpu", double=True)
    twin = theirs.twin_of(mine)
    for k in (1, 2, 3):
        ours, other = mine.step(k), twin.step(k)
        assert other == pytest.approx({name: ours[name].item() for name in other}, abs=1e-12)
