"""What pyproject.toml allows is what is tested: its lower bounds, and the versions that the Makefile installs."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def pins(name: str) -> dict[str, Version]:
    """The versions in a constraints file, by package in lower case."""
    lines = (line.partition("==") for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
    return {package.lower().replace("_", "-"): Version(version) for package, _, version in lines}


def requirements() -> list[Requirement]:
    """All requirements, those of extras included, without the package's own extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    listed = [Requirement(line) for part in (project["dependencies"], *extras) for line in part]
    return [requirement for requirement in listed if requirement.name != project["name"]]


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = (part.version for part in requirement.specifier if part.operator == ">=")
    return Version(bound)


@pytest.mark.parametrize("package", pins("constraints-lowest.txt"))
def test_the_lowest_tested_version_is_the_lower_bound(package: str) -> None:
    bounds = {lower_bound(requirement) for requirement in requirements() if requirement.name == package}
    assert bounds == {pins("constraints-lowest.txt")[package]}


def test_the_installed_versions_are_allowed() -> None:
    installed = pins("constraints.txt")
    for requirement in requirements():
        name = requirement.name.replace("_", "-")
        assert installed[name] in requirement.specifier, f"constraints.txt has {name} {installed[name]}"


def test_the_lowest_versions_are_those_of_packages_that_are_installed() -> None:
    assert pins("constraints-lowest.txt").keys() <= pins("constraints.txt").keys()
