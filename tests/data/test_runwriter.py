"""The run writer uses private attributes of another package: a version that lacks them fails at import, by name."""

from importlib.metadata import version
from types import SimpleNamespace

import pytest

from ebl_autonomy.data import runwriter


def test_a_version_that_lacks_what_is_used_is_named_with_what_it_lacks() -> None:
    with pytest.raises(ImportError, match=r"lacks \['_desc_nodes'\]") as caught:
        runwriter._require(SimpleNamespace(_internal_tables={}), "_desc_nodes", "_internal_tables")
    assert version("bluesky-tiled-plugins") in str(caught.value)
