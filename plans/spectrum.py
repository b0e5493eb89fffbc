"""Adaptive spectroscopy: an agent chooses the energies of a spectrum that are worth measuring."""

from collections.abc import Sequence
from typing import Any

from bluesky.protocols import NamedMovable, Readable
from bluesky.utils import MsgGenerator, plan

from ebl_autonomy.plans.acquisition import Acquisition, Measure
from ebl_autonomy.plans.queueing import checked_by_queue, refuse_names
from ebl_autonomy.plans.result import RunResult
from ebl_autonomy.plans.steered_run import acquisition_of, steer
from ebl_autonomy.records import Finish

__all__ = ["adaptive_spectrum"]


@checked_by_queue
@plan
def adaptive_spectrum(
    detectors: Sequence[Readable[Any]],
    energy: NamedMovable[float],
    agent: Any,
    *,
    max_points: int,
    batch: int = 8,
    until: Any = None,
    measure: Measure | Acquisition | None = None,
    derive: Any = None,
    envelope: Any = None,
    md: dict[str, Any] | None = None,
    vocs: Any = None,
    baseline: Sequence[Readable[Any]] = (),
    finish: Finish = "return",
    retries: int = 1,
    max_failures: int | None = None,
    move_timeout_s: float | None = None,
    trigger_timeout_s: float | None = None,
    position_tolerance: dict[str, float] | None = None,
) -> MsgGenerator[RunResult]:
    """Measure a spectrum at the energies that an agent chooses, until its error or a budget ends it.

    Each batch is measured upwards in energy, as the agent proposes it, so that backlash is taken from one side.

    Parameters
    ----------
    detectors : sequence of Readable
        Triggered and read at every energy. They, or `derive`, provide the spectra, which are the outcomes of the VOCS.
    energy : Movable
        The only variable of the VOCS, usually in eV.
    agent : gest-api Generator, str or mapping
        As for `optimize`; usually ``"energy"`` with `vocs`.
    max_points : int
        Maximum number of energies.
    batch : int
        Energies per decision.
    until, measure, derive, envelope, md, vocs, baseline, finish, retries, max_failures, move_timeout_s,
    trigger_timeout_s, position_tolerance
        As for `optimize`. Budgets in seconds and in dose are those of `until` and `envelope`; a target for the error is
        the agent's option ``target_error``. Where the envelope allows no single move to an energy, the motor goes there
        by several.

    Returns
    -------
    RunResult
        The spectrum itself is the agent's: see `ebl_autonomy.agents.energy.EnergyAgent.spectrum`.

    Raises
    ------
    BadInputError, DataError, AgentError, MeasurementError, UserFunctionError
        As for `optimize`.
    """
    refuse_names("energy", energy)
    return (
        yield from steer(
            acquisition_of(detectors, measure, trigger_timeout_s),
            [energy],
            agent,
            plan_name="adaptive_spectrum",
            max_points=max_points,
            batch=batch,
            until=until,
            derive=derive,
            envelope=envelope,
            md=md,
            vocs=vocs,
            baseline=baseline,
            finish=finish,
            retries=retries,
            max_failures=max_failures,
            move_timeout_s=move_timeout_s,
            trigger_timeout_s=trigger_timeout_s,
            position_tolerance=position_tolerance,
            routes=True,
        )
    )
