"""Agents from JSON: a registered name, a VOCS and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gest_api.generator import Generator
from pydantic import BaseModel

from ebl_autonomy import registry
from ebl_autonomy.errors import BadInputError, unknown_text, validated
from ebl_autonomy.space import VOCS, make_vocs

__all__ = ["make_agent", "parts_of"]


def make_agent(config: Mapping[str, Any]) -> Generator:
    """Make an agent from ``{"agent": name, "vocs": {...}, "options": {...}}``.

    Raises
    ------
    BadInputError
        If a key is missing or unknown at any depth, no agent of that name is registered, or a value is wrong. The
        message gives the path of the key, for example ``agent.options.sigma``.
    """
    name, vocs, options = parts_of(config)
    try:
        make = registry.load(registry.AGENTS, name)
    except BadInputError as error:
        raise BadInputError(f"agent.agent: {error}") from error
    kind = getattr(make, "Options", None)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        validated(kind, options, "agent.options")
    try:
        agent: Generator = make(make_vocs(vocs, "agent.vocs"), **options)
    except TypeError as error:  # a generator of another package says so of an unknown option
        raise BadInputError(f"agent.options: {name!r} cannot be made with {options!r:.200}: {error}") from error
    return agent


def parts_of(config: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Name, VOCS and options of an agent's configuration."""
    keys = ["agent", "vocs", "options"]
    if not isinstance(config, Mapping):
        raise BadInputError(f"agent={config!r:.80}: give a mapping with the keys {keys}")
    registered = registry.names(registry.AGENTS)
    for key in config:
        if key not in keys:
            inside = "vocs" if key in VOCS.model_fields else "options"
            text = unknown_text(key, keys)
            hint = "" if "did you mean" in text else f". If you mean agent.{inside}.{key}, put it there"
            raise BadInputError(f"agent.{key}: {text}{hint}")
    for key in ("agent", "vocs"):
        if key not in config:
            raise BadInputError(f"agent.{key}: missing. The keys are {keys}, and the agents are {registered}.")
    if not isinstance(config["agent"], str):
        raise BadInputError(f"agent.agent={config['agent']!r:.80}: give the name of an agent, one of {registered}")
    options = config.get("options")
    if not isinstance(options, Mapping | None):
        raise BadInputError(f"agent.options={options!r:.80}: give a mapping of options")
    options = dict(options or {})
    if "vocs" in options:
        raise BadInputError("agent.options.vocs: put it beside 'options', not inside")
    return config["agent"], config["vocs"], options
