"""The mapping agent: measures a map where its channels are not yet known."""

from ebl_autonomy.agents.mapping.agent import MappingAgent
from ebl_autonomy.agents.mapping.options import MappingOptions
from ebl_autonomy.lazy import public_dir

__all__ = ["MappingAgent", "MappingOptions"]

__dir__ = public_dir(__name__)
