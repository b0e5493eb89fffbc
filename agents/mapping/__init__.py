"""The mapping agent: measures a map where its channels are not yet known."""

from ebl_autonomy.agents.mapping.agent import MappingAgent
from ebl_autonomy.agents.mapping.options import MappingOptions

__all__ = ["MappingAgent", "MappingOptions"]
