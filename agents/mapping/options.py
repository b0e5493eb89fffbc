"""Options of the mapping agent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ebl_autonomy.agents.base import AgentOptions

__all__ = ["MappingOptions"]

Level = Annotated[float, Field(allow_inf_nan=False)]
Step = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class MappingOptions(AgentOptions):
    """Options of `MappingAgent`; import it from ``ebl_autonomy.agents``.

    Attributes
    ----------
    step : float or [float, float], optional
        Size of a pixel along x and y, in motor units. By default, each axis has 100 pixels.
    counts : bool or list of str
        The channels that are counts, whose noise follows from the counts themselves (Poisson): all, none, or these.
    weights : dict of str to float
        Weight of each channel in the decision, 1 by default; 0 leaves a channel out. Channels of equal weight count
        equally, whatever their units.
    aim : {"reconstruction", "edges", "boundary", "rare"}
        What the points are for. "reconstruction": the smallest squared error of the maps. "edges": where values change.
        "boundary": where a channel crosses `threshold`. "rare": whatever stands out of the noise, bright or faint.
    threshold : float or dict of str to float, optional
        Level of the boundary, in the channel's unit (with `dwell`, counts per second); needed by ``aim="boundary"``.
    target_error : float, optional
        Stop when the predicted error of every channel with a weight is at most this share of the channel's standard
        deviation over the map (NRMSE).
    start : float
        Share of the pixels that are measured evenly before the first decision.
    dwell : str, optional
        The variable that is the dwell time, in seconds. The agent chooses it for each point. Counts are proportional to
        it.
    line : str, optional
        The variable that is the length of a fly line along the fast axis, in motor units: positive or negative, and 0
        for a point. The agent proposes whichever gains more per second.
    travel : dict of str to dict
        Motion profile of each motor: the fields of `ebl_autonomy.space.AxisTravel`. A plan fills it in from its motors.
    measure_s : float
        Duration of the measurement of a point after the motors have arrived, in seconds; with `dwell`, without it.
    """

    step: Step | Annotated[list[Step], Field(min_length=2, max_length=2)] | None = None
    counts: bool | list[str] = False
    weights: dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = {}
    aim: Literal["reconstruction", "edges", "boundary", "rare"] = "reconstruction"
    threshold: Level | dict[str, Level] | None = None
    target_error: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    start: float = Field(default=0.01, gt=0.0, le=1.0)
    dwell: str | None = None
    line: str | None = None
    travel: dict[str, dict[str, float]] = {}
    measure_s: float = Field(default=1.0, gt=0.0)
