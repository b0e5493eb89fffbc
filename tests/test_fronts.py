"""``dir()`` of each package shows its public names only, and each public name can be imported."""

import subprocess
import sys
from importlib import import_module
from pkgutil import walk_packages

import pytest

import ebl_autonomy

PACKAGES = sorted(["ebl_autonomy", *(m.name for m in walk_packages(ebl_autonomy.__path__, "ebl_autonomy.") if m.ispkg)])


def test_the_packages_are_found() -> None:
    assert {"ebl_autonomy", "ebl_autonomy.agents", "ebl_autonomy.agents.bayesian", "ebl_autonomy.plans"} <= set(
        PACKAGES
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_a_front_lists_its_public_names_and_nothing_else(name: str) -> None:
    package = import_module(name)
    assert dir(package) == sorted(package.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_not_public_is_no_attribute(name: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        import_module(name).no_such_name  # noqa: B018


@pytest.mark.integration
def test_every_public_name_is_there() -> None:
    """In a separate process, because some names load torch or a channel access client."""
    code = (
        "from importlib import import_module\n"
        f"for package in map(import_module, {PACKAGES}):\n"
        "    for name in package.__all__:\n"
        "        getattr(package, name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
