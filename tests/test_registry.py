"""Agents and derivations are found by name, and every registered name loads."""

from importlib.metadata import entry_points

import pytest
from gest_api.generator import Generator

from ebl_autonomy import registry
from ebl_autonomy.errors import BadInputError

REGISTERED = [(group, name) for group in (registry.AGENTS, registry.DERIVATIONS) for name in registry.names(group)]


def test_our_own_names_are_there() -> None:
    assert {"bayesian", "coordinate_scan", "grid", "sobol"} <= set(registry.names(registry.AGENTS))
    assert "beam_width" in registry.names(registry.DERIVATIONS)


@pytest.mark.parametrize(("group", "name"), REGISTERED)
def test_every_entry_point_loads(group: str, name: str) -> None:
    loaded = registry.load(group, name)
    assert callable(loaded)
    if group == registry.AGENTS:
        assert issubclass(loaded, Generator)
        assert loaded.name == name


def test_the_command_line_is_registered_and_loads() -> None:
    (script,) = (e for e in entry_points(group="console_scripts") if e.name == "ebl-autonomy")
    assert callable(script.load())


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(BadInputError, match=r"'newton'.*'sobol'"):
        registry.load(registry.AGENTS, "newton")


def test_an_entry_point_that_cannot_be_imported_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    broken = EntryPoint("broken", "no_such_package.module:Agent", registry.AGENTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    with pytest.raises(BadInputError, match="no_such_package"):
        registry.load(registry.AGENTS, "broken")
