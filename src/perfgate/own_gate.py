"""`perfgate_gate`: figures of a test's own, recorded round by round and judged against the baseline."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from perfgate.case import canonical, short_hash
from perfgate.errors import UsageError
from perfgate.extras import checked
from perfgate.metrics import CATALOGUE, Better, Kind, Metric
from perfgate.own_case import KIND, OwnCase, is_open, own_metric, own_round
from perfgate.plan import BASELINE_ROUNDS
from perfgate.record import CaseInfo, PreparedInfo, Round, Side, now, printable

if TYPE_CHECKING:
    from perfgate.own_engine import OwnEngine
    from perfgate.own_session import OwnSession

# Stored rounds alone are compared, so that the noise between sessions counts in full: while one session is known,
# 12 rounds can rule out 18 % where the figure itself had next to no noise (default assumptions of `gate.noise`).
MARGIN, DETECT = 0.05, 0.25


class OwnGate:
    """The gate of one test. Take rounds, record in each, and the test fails where the figures got worse."""

    def __init__(self, case_id: str, session: OwnSession) -> None:
        self._id = case_id
        self._session = session
        self._metrics: dict[str, Metric] = {}
        self._rounds: list[Round] = []
        self._values: dict[str, float] | None = None  # of the round under way
        self._engines: dict[str, OwnEngine] = {}
        self._began = time.perf_counter()

    def rounds(self) -> Iterator[int]:
        """Rounds as the gate wants them: so many as a baseline needs, or until the judge is sure.

        Gives 1, 2, ...; the device is leased from the first to the last. `--perfgate-rounds N` makes it exactly N.
        """
        with self._session.lease(), self._session.gate_at_work(self):
            self._began = time.perf_counter()
            while self._wants_more():
                self._values, started, begin = {}, now(), time.perf_counter()
                yield len(self._rounds) + 1
                self._close(started, time.perf_counter() - begin)

    def record(
        self, metric: str, value: float, *, unit: str = "", better: str = "", margin: float = MARGIN,
        detect: float = DETECT, is_exact: bool = False,
    ) -> None:  # fmt: skip
        """Record a figure in the round under way.

        metric: one of perfgate's, one of your conftest's (`pytest_perfgate_metrics`), or a name of your own; that
        needs `unit` ("s", "tokens/s", ...) and `better` ("lower" or "higher"). margin: a change up to this is never
        red; detect: the smallest worsening that must be found. is_exact: it has no noise and is compared as it is.

        Raises:
            UsageError: outside a round, twice in one, no positive number, or a metric that is not fully said.
        """
        if self._values is None:
            raise UsageError(f"'{metric}' was recorded outside a round: use `for _ in perfgate_gate.rounds():`")
        if metric in self._values:
            raise UsageError(f"'{metric}' was recorded twice in one round")
        known = self._session.metrics.get(metric) or CATALOGUE.get(metric)
        wanted = own_metric(known or _metric(metric, unit, better, margin, detect, is_exact=is_exact))
        if self._metrics.setdefault(metric, wanted) != wanted:
            raise UsageError(f"'{metric}' was recorded as another metric before: unit, direction and limits stay")
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"'{metric}': found {value:g}, expected a finite number above 0")
        self._values[metric] = float(value)

    def use(self, engine: OwnEngine) -> None:
        """An engine that this gate's figures are about."""
        self._engines[engine.name] = engine

    # ------------------------------------------------------------------ rounds

    def _close(self, started: str, seconds: float) -> None:
        values, self._values = self._values, None
        if not values:
            raise UsageError(f"round {len(self._rounds) + 1} recorded nothing: call perfgate_gate.record(name, value)")
        self._rounds.append(own_round(self._id, len(self._rounds), started, seconds, values))

    def _wants_more(self) -> bool:
        done, gate, asked = len(self._rounds), self._session.gate, self._session.options.rounds
        if asked is not None:
            return done < asked
        if not self._session.has_baseline(self._id):
            return done < max(gate.first_rounds, BASELINE_ROUNDS)
        if done < gate.first_rounds:
            return True
        is_late = time.perf_counter() - self._began > gate.budget_s
        return done < gate.most_rounds and not is_late and is_open(self._session.judge(self.case()))

    # ------------------------------------------------------------------ the end

    def case(self, fault: str | None = None, skip: str | None = None) -> OwnCase:
        """What was measured so far. fault: why it does not count; skip: why nothing was measured."""
        engines = sorted(self._engines)
        specs = [canonical(self._engines[name].spec) for name in engines]
        info = CaseInfo(self._id, self._id, KIND, short_hash({"kind": KIND, "engines": specs}), skip)
        rounds = [replace(one, fault=fault) for one in self._rounds] if fault else self._rounds
        if fault and not rounds:
            rounds = [Round(self._id, Side.CANDIDATE, 0, now(), 0.0, (), fault=fault)]
        metrics = tuple(self._metrics.values())
        return OwnCase(info, metrics, tuple(rounds), self._session.environment(self._versions()), self._prepared())

    def _versions(self) -> dict[str, str]:
        found = [self._engines[name].found.entry.versions for name in sorted(self._engines)]
        return {name: version for versions in found for name, version in versions.items()}

    def _prepared(self) -> PreparedInfo:
        """The engines as one, by whose key sessions of an unchanged engine are told; without any by none."""
        infos = [self._engines[name].found.info(name) for name in sorted(self._engines)]
        if len(infos) == 1:
            return replace(infos[0], engine=self._id)
        key = short_hash([one.key for one in infos]) if infos else "none"
        return PreparedInfo(self._id, key, True, {}, sum(one.engine_bytes for one in infos), self._versions())

    @property
    def is_unused(self) -> bool:
        return not self._rounds

    def broken(self, error: BaseException) -> OwnCase:
        """The case of a test that ended by an error: nothing of it counts."""
        return self.case(fault=printable(f"the test ended by {type(error).__name__}: {error}")[:300])


def _metric(name: str, unit: str, better: str, margin: float, detect: float, *, is_exact: bool) -> Metric:
    if not unit or better not in set(Better):
        raise UsageError(
            f"'{name}' is no metric of perfgate's: say unit='s' (or another) and better='lower' or 'higher'; found "
            f"unit={unit!r}, better={better!r}"
        )
    kind, limit = (Kind.EXACT, margin) if is_exact else (Kind.NOISY, detect)
    return checked([Metric(name, unit, Better(better), kind, margin, limit, "")])[0]
