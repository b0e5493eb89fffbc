"""The run writer uses private attributes of another package: a version that lacks them fails at import, by name."""

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest

from ebl_autonomy.data import runwriter
from ebl_autonomy.errors import BadInputError


def test_a_version_that_lacks_what_is_used_is_named_with_what_it_lacks() -> None:
    with pytest.raises(ImportError, match=r"lacks \['_desc_nodes'\]") as caught:
        runwriter._require(SimpleNamespace(_internal_tables={}), "_desc_nodes", "_internal_tables")
    assert version("bluesky-tiled-plugins") in str(caught.value)


@pytest.mark.parametrize("given", [3, "spec", {"name": "spec"}, [3], [{"nam": "spec"}]])
def test_specs_that_are_none_are_named_with_the_remedy(given: Any) -> None:
    with pytest.raises(BadInputError, match="give a list of names") as caught:
        runwriter._specs(given)
    assert f"tiled_specs={given!r}" in str(caught.value)


def test_specs_are_names_or_mappings() -> None:
    assert [spec.name for spec in runwriter._specs(["one", {"name": "two", "version": "1"}])] == ["one", "two"]
