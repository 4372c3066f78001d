"""From a goal and what was measured to advice: techniques in order, what to try next, and what the figures rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from perfgate.advising import swept as of_sweeps
from perfgate.advising.advice import Advice, Limit, Material, Next, Wish
from perfgate.advising.bounds import Bounds, bounds_of, prompt_tokens
from perfgate.advising.evidence import Compared, Evidence, comparable, weigh
from perfgate.advising.goals import AIMS, Goal
from perfgate.advising.lines import entry, suite_lines
from perfgate.advising.pairs import Technique, techniques
from perfgate.advising.price import token_prices
from perfgate.advising.prospects import Ground, Prospect, not_worth, prospects
from perfgate.advising.quality import Quality, quality_of
from perfgate.advising.ranking import Line, Standing, mean_gain, next_of, ranked, reason_of, standing_of
from perfgate.advising.room import room_of
from perfgate.advising.sources import changed_since
from perfgate.advising.swept import Swept
from perfgate.case import Case, EngineSpec, LatencyWork, ServingWork
from perfgate.device import Device
from perfgate.quality_suite import USUAL
from perfgate.sweep_effects import Effect
from perfgate.versus import CONFIDENCE


def advise(material: Material, wish: Wish) -> Advice:
    """The whole: pure but for the checkpoints' config.json and what backends say of themselves."""
    made = _Advising(material, wish)
    lines = made.lines()
    grounds = list(made.grounds(lines))
    sources = material.sources.every
    environment = sources[0].run.environment if sources else material.sweeps[0].found.environment
    after = tuple(one for ground in grounds for one in made.next(ground))
    is_of_memory = wish.goal in (Goal.MEMORY, Goal.LONG_CONTEXT)
    return Advice(
        wish.goal, material.suite.name, environment.device, environment.product,
        (*(one.name for one in sources), *(one.name for one in material.sweeps)), lines,
        after,
        suite_lines(material.raw, [one.entry for one in after if one.entry is not None]),
        tuple(map(_limit, made.bounds())),
        tuple(room_of(spec, environment) for spec in made.measured) if is_of_memory else (),
        tuple(token_prices(material.sources, made.asked, wish.price_per_h)) if wish.goal is Goal.COST else (),
        tuple(dict.fromkeys([*material.notes, *made.notes(grounds)])), CONFIDENCE, wish.max_loss, wish.price_per_h,
    )  # fmt: skip


class _Advising:
    """One request while it is worked on: the engines with rounds, their pairs, and the confidence of each interval."""

    def __init__(self, material: Material, wish: Wish) -> None:
        self._material, self._wish, self._aim = material, wish, AIMS[wish.goal]
        self._sources, self._suite = material.sources, material.suite
        cases = self._suite.cases
        self.measured = [spec for spec in self._suite.engines if self._is_measured(spec)]
        self.asked = [case for case in cases if self._is_asked(case)]
        named = {one.engine: one.reference_engine for one in self._suite.gate.references}
        self._pairs = techniques(self.measured, named)

    def _is_measured(self, spec: EngineSpec) -> bool:
        return any(self._sources.has(case) for case in self._suite.cases if case.engine == spec)

    def _is_asked(self, case: Case) -> bool:
        """Whether a case says something for the goal: filters are about what generates text."""
        if not isinstance(case.work, LatencyWork | ServingWork):
            return True
        fits = not self._wish.cases or any(fnmatchcase(case.id, one) for one in self._wish.cases)
        fits &= not self._wish.workloads or any(fnmatchcase(case.work.name, one) for one in self._wish.workloads)
        return fits and (not self._aim.is_of_longest or prompt_tokens(case) >= self._longest(case))

    def _longest(self, case: Case) -> float:
        """Tokens of the longest prompts that the case's engine was asked."""
        return max(prompt_tokens(one) for one in self._suite.cases if one.engine == case.engine)

    # ------------------------------------------------------------------ what was measured

    def lines(self) -> tuple[Line, ...]:
        """Every technique that was measured, the best first; deciding intervals hold together."""
        deciding = [(pair, self._compared(pair, self._aim.decides)) for pair in self._pairs]
        effects = [(one, effect) for one in self._material.sweeps for effect in one.effects]
        swept = [(one, effect, list(of_sweeps.changes_of(effect, self._aim.decides))) for one, effect in effects]
        tests = sum(len(found) for _, found in deciding) + sum(len(found) for _, _, found in swept)
        each = 1 - (1 - CONFIDENCE) / max(tests, 1)
        made = [self._line(pair, found, each) for pair, found in deciding if found]
        made += [self._swept(one, effect, each) for one, effect, found in swept if found]
        return ranked(made)

    def _compared(self, pair: Technique, figures: Sequence[tuple[str, ...]]) -> list[Compared]:
        return list(comparable(self._sources, pair, self.asked, figures, is_per_device=self._aim.is_per_device))

    def _line(self, pair: Technique, found: Sequence[Compared], each: float) -> Line:
        noise = self._suite.gate.noise
        beside = self._compared(pair, self._aim.beside)
        quality = quality_of(self._sources, pair, self._suite.cases, self._suite.gate, self._wish.max_loss)
        return _judged(
            pair.engine.name, pair.reference.name, pair.title, [weigh(one, noise, each) for one in found],
            [weigh(one, noise, CONFIDENCE) for one in beside], quality, may_cost=pair.may_cost_quality,
        )  # fmt: skip

    def _swept(self, one: Swept, effect: Effect, each: float) -> Line:
        allowed = USUAL if self._wish.max_loss is None else self._wish.max_loss
        decides, beside = (
            [of_sweeps.evidence_of(one, effect, change, confidence) for change in of_sweeps.changes_of(effect, names)]
            for names, confidence in ((self._aim.decides, each), (self._aim.beside, CONFIDENCE))
        )
        what = (f"{effect.axis} {effect.value}", f"{effect.axis} {effect.against}", f"{effect.axis} {effect.value}")
        quality = of_sweeps.quality_of(one, effect, allowed)
        return _judged(*what, decides, beside, quality, may_cost=of_sweeps.may_cost_quality(effect))

    # ------------------------------------------------------------------ what was not

    def bounds(self) -> list[Bounds]:
        """Of every measured engine, on the case that says most for the goal."""
        found = (self._bounds(spec) for spec in self.measured)
        return [one for one in found if one is not None]

    def _bounds(self, spec: EngineSpec) -> Bounds | None:
        return bounds_of(self._sources, spec, self.asked, self._wish.goal, self._material.ceilings)

    def grounds(self, lines: Sequence[Line]) -> Iterator[Ground]:
        """Of each model and backend the engine to go on from: the best that is to be taken, else the plainest."""
        taken = [one.engine for one in lines if one.standing is Standing.TAKE]
        order = [*taken, *(pair.root.name for pair in self._pairs), *(spec.name for spec in self.measured)]
        by_name = {spec.name: spec for spec in self.measured}
        seen = set[tuple[str, str]]()
        for spec in (by_name[name] for name in order if name in by_name):
            bounds = self._bounds(spec)
            if (key := (str(spec.model), spec.backend)) not in seen and bounds is not None:
                seen.add(key)
                run = next(one.run for one in self._sources.every if one.name == bounds.run)
                made = run.environment
                ceilings = run.limits.ceilings if run.limits else self._material.ceilings
                device = Device(made.device, made.product, gpus=made.gpus)
                yield Ground(self._wish.goal, spec, bounds, device, ceilings)

    def next(self, ground: Ground) -> list[Next]:
        """What to try on top of an engine."""
        return [self._next(one) for one in self._prospects(ground)]

    def _prospects(self, ground: Ground) -> list[Prospect]:
        return prospects(ground, self._suite.engines, self.measured)

    def _next(self, one: Prospect) -> Next:
        works = [case.work.name for case in self._suite.cases if case.engine.name == one.engine]
        new = None if one.known_as else entry(self._material.raw, one.engine, one.keys, works)
        return Next(one.engine, one.title, one.reason, one.most, new, one.known_as)

    # ------------------------------------------------------------------ what a reader must know

    def notes(self, grounds: Sequence[Ground]) -> Iterator[str]:
        changed = changed_since(self._sources, self._suite.cases)
        if changed:
            yield f"left out, as the suite has changed since they were measured: {', '.join(changed)}"
        silent = [spec.name for spec in self._suite.engines if spec not in self.measured]
        if silent:
            yield f"engines of the suite without a valid round here: {', '.join(silent)}"
        yield from (f"here {one.install}" for ground in grounds for one in self._prospects(ground) if one.install)
        yield from (line for ground in grounds for line in not_worth(ground))
        for ground in grounds:
            phase = ground.bounds.decode
            if phase is None:
                yield (
                    f"distance to the limit of {ground.bounds.case.id}: not known, as neither the run nor the state "
                    "folder holds the device's limits; `perfgate roofline` on that device measures them"
                )
            else:
                yield from (f"{ground.bounds.case.id}: {note}" for note in phase.notes)


def _judged(
    engine: str, reference: str, title: str, decides: Sequence[Evidence], beside: Sequence[Evidence],
    quality: Quality, *, may_cost: bool,
) -> Line:  # fmt: skip
    findings = [one.finding for one in decides]
    standing = standing_of(findings, quality.cost, may_cost_quality=may_cost)
    return Line(
        engine, reference, title, standing, reason_of(standing, decides, quality), mean_gain(decides),
        tuple(decides), tuple(beside), quality, next_of(standing, decides, quality),
    )  # fmt: skip


def _limit(one: Bounds) -> Limit:
    decode, prefill = one.decode, one.prefill
    return Limit(
        one.case.engine.name, one.case.id, one.run,
        decode.share if decode else None, decode.bound.value if decode and decode.bound else None,
        prefill.share if prefill else None, prefill.bound.value if prefill and prefill.bound else None,
        one.busy, one.prompt_share,
    )  # fmt: skip
