"""Rules about where the regions of one channel lie among those of the others: a small language, typed and as text.

``Fe inside Ca and away from Zn by 2`` is a `Rule` with the subject ``Fe`` and the two `Relation`s joined by `AllOf`. A
rule speaks of the regions of one channel, its subject. Text and JSON say the same: ``Rule.parse(str(rule)) == rule``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ebl_autonomy.errors import BadInputError

__all__ = ["AllOf", "AnyOf", "Condition", "Feature", "Not", "Relation", "Rule", "RuleError", "RuleLike"]

Kind = Literal["inside", "outside", "overlaps", "touches", "contains", "near", "away"]
RELATIONS: Final = ("inside", "outside", "overlaps", "touches", "contains", "near", "away")
KEYWORDS: Final = (*RELATIONS, "from", "by", "with", "above", "below", "and", "or", "not")
_TERMS: Final = (*RELATIONS[:-1], "away from", "with", "not", "(")
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TOKEN: Final = re.compile(
    rf'\s*(?:(?P<number>{_NUMBER})(?![\w.])|"(?P<quoted>[^"]*)"|(?P<word>[A-Za-z_][\w.]*)|(?P<sign>[(),/])|(?P<bad>\S+))'
)
_PLAIN: Final = re.compile(r"[A-Za-z_][\w.]*")


DEEPEST: Final = 50
"""Of parentheses and 'not' within each other."""


class RuleError(BadInputError):
    """A text that is no rule.

    Parameters
    ----------
    text : str
        The whole rule.
    start, stop : int
        The characters that are wrong.
    fault : str
    """

    def __init__(self, text: str, start: int, stop: int, fault: str) -> None:
        super().__init__(f"{fault}\n  {text}\n  {' ' * start}{'^' * max(stop - start, 1)}")
        self.text, self.start, self.stop = text, start, stop


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    rank: ClassVar[int] = 3
    """How tightly its text binds: parentheses are written around what binds less than its place needs."""


class Relation(_Part):
    """Where a region lies with respect to the regions of another channel.

    Attributes
    ----------
    relation : str
        ``inside`` (at least 80 % of its area), ``outside`` (no pixel in common), ``overlaps`` (a pixel in common),
        ``touches`` (in common or next to each other), ``contains`` (at least 80 % of the area of one of them), ``near``
        (nearest pixels at most `by` apart) or ``away`` (more than `by` apart).
    of : str
        The other channel.
    by : float, optional
        Distance of the centres of the nearest pixels, in motor units; for ``near`` and ``away`` only. Away without a
        distance is neither in common nor next to each other.
    """

    relation: Kind
    of: str = Field(min_length=1)
    by: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _by_where_it_belongs(self) -> Self:
        if self.relation == "near" and self.by is None:
            raise ValueError(f"near {self.of} needs a distance: near {self.of} by 2")
        if self.by is not None and self.relation not in ("near", "away"):
            raise ValueError(f"{self.relation} takes no distance (by={self.by:g}): only near and away do")
        return self

    def __str__(self) -> str:
        words = "away from" if self.relation == "away" else self.relation
        return f"{words} {_name(self.of)}" + ("" if self.by is None else f" by {self.by!r}")


class Feature(_Part):
    """A limit on a feature of a region, such as ``with Cr/Fe above 0.1`` or ``with area below 4``."""

    feature: str = Field(min_length=1)
    above: float | None = Field(default=None, allow_inf_nan=False)
    below: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"{self.feature}: give either above or below; join two limits with 'and'")
        return self

    def __str__(self) -> str:
        limit = f"above {self.above!r}" if self.above is not None else f"below {self.below!r}"
        return f"with {'/'.join(_name(part) for part in self.feature.split('/'))} {limit}"


class AllOf(_Part):
    """Every one of the conditions holds."""

    all: tuple[Condition, ...] = Field(min_length=2)
    rank: ClassVar[int] = 2

    def __str__(self) -> str:
        return " and ".join(_within(part, self.rank + 1) for part in self.all)


class AnyOf(_Part):
    """At least one of the conditions holds."""

    any: tuple[Condition, ...] = Field(min_length=2)
    rank: ClassVar[int] = 1

    def __str__(self) -> str:
        return " or ".join(_within(part, self.rank + 1) for part in self.any)


class Not(_Part):
    """The condition does not hold."""

    negated: Condition

    def __str__(self) -> str:
        return f"not {_within(self.negated, self.rank)}"


Condition = Relation | Feature | AllOf | AnyOf | Not


class Rule(_Part):
    """A rule: which regions of a channel are wanted.

    Attributes
    ----------
    subject : str
        The channel whose regions it speaks of.
    where : Condition, optional
        What must hold; without it, every region of the channel.
    """

    subject: str = Field(min_length=1)
    where: Condition | None = None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that a text says.

        Raises
        ------
        RuleError
            If the text is no rule; the message points at the word and lists what may stand there.
        """
        return _Parser(text).rule()

    def __str__(self) -> str:
        return _name(self.subject) + ("" if self.where is None else f" {self.where}")

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that it names, the subject first."""
        return tuple(dict.fromkeys([self.subject, *(part.of for part in self.parts() if isinstance(part, Relation))]))

    def parts(self) -> list[Relation | Feature]:
        """The relations and limits in it, from left to right."""
        return [] if self.where is None else _leaves(self.where)


def _rule_of(given: Any) -> Any:
    return Rule.parse(given) if isinstance(given, str) else given


RuleLike = Annotated[Rule, BeforeValidator(_rule_of)]
"""A rule as text, as JSON or as a `Rule`."""


def _leaves(condition: Condition) -> list[Relation | Feature]:
    if isinstance(condition, (Relation, Feature)):
        return [condition]
    if isinstance(condition, Not):
        return _leaves(condition.negated)
    parts = condition.all if isinstance(condition, AllOf) else condition.any
    return [leaf for part in parts for leaf in _leaves(part)]


def _within(condition: Condition, rank: int) -> str:
    return str(condition) if condition.rank >= rank else f"({condition})"


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name.lower() not in KEYWORDS else f'"{name}"'


@dataclass(frozen=True)
class _Token:
    """A word of a rule; `kind` is "word", "quoted", "number", "sign", or "end"."""

    kind: str
    text: str
    start: int
    stop: int

    @property
    def keyword(self) -> str:
        """The keyword or sign that it is; empty if it is a name or a number."""
        if self.kind == "sign":
            return self.text
        return self.text.lower() if self.kind == "word" and self.text.lower() in KEYWORDS else ""


class _Parser:
    """Recursive descent: ``or`` binds less than ``and`` (or a comma), which binds less than ``not``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[_Token] = []
        for found in _TOKEN.finditer(text.rstrip()):
            kind = str(found.lastgroup)
            start, stop = found.span(kind)
            if kind == "bad":
                raise RuleError(
                    text, start, stop,
                    f"{found[kind]!r} is no word of a rule: put names with other characters in double quotes",
                )  # fmt: skip
            self.tokens.append(_Token(kind, found[kind], start, stop))
        self.tokens.append(_Token("end", "the end", len(text.rstrip()), len(text.rstrip()) + 1))
        self.at = self.depth = 0

    @property
    def here(self) -> _Token:
        return self.tokens[self.at]

    def next(self) -> _Token:
        token = self.here
        self.at += token.kind != "end"
        return token

    def took(self, *keywords: str) -> bool:
        if self.here.keyword in keywords:
            self.next()
            return True
        return False

    def fault(self, allowed: tuple[str, ...]) -> RuleError:
        token = self.here
        close = difflib.get_close_matches(token.text.lower(), [a.split()[0] for a in allowed], n=1)
        question = f", did you mean {close[0]!r}?" if close and token.kind == "word" else "."
        what = "the rule ends too early" if token.kind == "end" else f"{token.text!r} cannot stand here"
        words = ", ".join("a comma" if one == "," else one for one in allowed)
        return RuleError(self.text, token.start, token.stop, f"{what}{question} Allowed: {words}")

    def rule(self) -> Rule:
        subject = self.name("a channel")
        if self.here.kind == "end":
            return Rule(subject=subject)
        where = self.condition()
        if self.here.kind != "end":
            raise self.fault(("and", "or", ","))
        return Rule(subject=subject, where=where)

    def condition(self) -> Condition:
        parts = [self.conjunction()]
        while self.took("or"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else AnyOf(any=tuple(parts))

    def conjunction(self) -> Condition:
        parts = [self.term()]
        while self.took("and", ","):
            parts.append(self.term())
        return parts[0] if len(parts) == 1 else AllOf(all=tuple(parts))

    def term(self) -> Condition:
        if self.here.keyword in ("not", "("):
            self.depth += 1
            if self.depth > DEEPEST:
                raise RuleError(
                    self.text, self.here.start, self.here.stop, f"more than {DEEPEST} levels: write it flat"
                )
        if self.took("not"):
            inner: Condition = Not(negated=self.term())
            self.depth -= 1
            return inner
        if self.took("("):
            inner = self.condition()
            self.depth -= 1
            if not self.took(")"):
                raise self.fault((")", "and", "or", ","))
            return inner
        if self.took("with"):
            return self.feature()
        for relation in RELATIONS:
            if self.took(relation):
                return self.relation(relation)
        raise self.fault(_TERMS)

    def relation(self, kind: Kind) -> Relation:
        if kind == "away" and not self.took("from"):
            raise self.fault(("from",))
        of = self.name("a channel")
        by = None
        if kind in ("near", "away"):
            if self.took("by"):
                by = self.number(least=0.0)
            elif kind == "near":
                raise self.fault(("by",))
        return Relation(relation=kind, of=of, by=by)

    def feature(self) -> Feature:
        name = self.name("a feature")
        while self.took("/"):
            name += "/" + self.name("a channel")
        if self.took("above"):
            return Feature(feature=name, above=self.number())
        if self.took("below"):
            return Feature(feature=name, below=self.number())
        raise self.fault(("above", "below", "/"))

    def name(self, what: str) -> str:
        if self.here.kind == "quoted" or (self.here.kind == "word" and not self.here.keyword):
            if not self.here.text:
                raise RuleError(self.text, self.here.start, self.here.stop, f"an empty name: give {what}")
            return self.next().text
        raise self.fault((f"the name of {what}",))

    def number(self, least: float | None = None) -> float:
        if self.here.kind != "number":
            raise self.fault(("a number",))
        if least is not None and float(self.here.text) < least:
            raise self.fault((f"a number of at least {least:g}",))
        return float(self.next().text)
