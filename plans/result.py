"""What a steered plan returns."""

from dataclasses import dataclass, field

from ebl_autonomy.records import BestReading, Recommendation

__all__ = ["RunResult"]


@dataclass(frozen=True)
class RunResult:
    """The return value of a steered plan (``plan_result`` if ``RE.call_returns_result`` is set).

    Attributes
    ----------
    uid : str
        Uid of the run.
    stop_reason : str
        The rule that ended the run.
    accepted, refused, abandoned : int
        Numbers of proposals with this end.
    rows : int
        Number of recorded rows; a flown line has many.
    recommended : Recommendation or None
        The agent's recommended point, with mean and standard deviation; for several objectives the compromise.
    best_reading : BestReading or None
        The best measured value.
    left_at : dict of str to float
        Final positions of the motors, in motor units.
    left_where : str
        The same in words: ``"are at the recommended point"``, or why they are not.
    seconds : float
        Duration as the stop rules count it: of `Until.clock`, if it is given, or else wall-clock seconds.
    dose : float
        Sum of ``dose_key`` of the envelope over all exposures; 0 without such a key.
    line : str
        The line that the run printed at its end, which is also the text of the result.
    front : tuple of Recommendation
        For several objectives: the Pareto front, i.e. the points that no other point improves in all objectives.
    """

    uid: str
    stop_reason: str
    accepted: int
    refused: int
    abandoned: int
    rows: int
    recommended: Recommendation | None
    best_reading: BestReading | None
    left_at: dict[str, float] = field(default_factory=dict)
    front: tuple[Recommendation, ...] = ()
    left_where: str = ""
    seconds: float = 0.0
    dose: float = 0.0
    line: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.line or repr(self)

    @property
    def best(self) -> Recommendation | None:
        """The former name of `recommended`."""
        return self.recommended
