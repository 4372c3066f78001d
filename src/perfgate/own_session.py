"""Gates of tests' own figures in a pytest session: what they share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from perfgate.baselines import Baseline, find_baseline
from perfgate.builder import BuildJob, prepare
from perfgate.case import EngineSpec
from perfgate.device import Device, find_device
from perfgate.engine_suite import read_engine
from perfgate.engines.carrying import why_unsupported
from perfgate.errors import UsageError
from perfgate.gate import environment_of
from perfgate.history import history_path
from perfgate.leases import Wait, leased, places
from perfgate.metrics import Metric
from perfgate.own_case import OWN, POLICIES, OwnCase, judged, own_gate
from perfgate.own_engine import OwnEngine
from perfgate.own_gate import OwnGate
from perfgate.plan import Options
from perfgate.process import Files
from perfgate.question import Known
from perfgate.recall import recall
from perfgate.record import Environment, now
from perfgate.seats import work_folder
from perfgate.state_folder import check_state
from perfgate.suite import Suite
from perfgate.terms import Gate, Policy


class OwnSession:
    """What the gates of one process share: options, baseline, device and its lease, engines built."""

    def __init__(
        self, options: Options, suite: Suite | None, root: Path, metrics: tuple[Metric, ...],
        machine: Mapping[str, str], tell: Callable[[str], None], tests: int,
    ) -> None:  # fmt: skip
        """tests: how many tests of the session have such a gate; they share alpha. root: where paths begin."""
        if suite and suite.name == OWN:
            raise UsageError(f"a suite cannot be called '{OWN}': the figures of tests have that name; rename it")
        check_state(options.state)
        self.options, self.suite, self.started = options, suite, now()
        self.metrics = {metric.name: metric for metric in metrics}
        self.gate: Gate = own_gate(suite.gate if suite else None, (), tests)
        self.policy: Policy = suite.policy(options.policy) if suite else POLICIES[options.policy]
        self._root, self._machine, self._tell = root, machine, tell
        self._ids: dict[str, str] = {}  # case id -> node id
        self._known: dict[tuple[str, str], Known] = {}
        self._handles: tuple[int, ...] | None = None  # of the lease that is held
        self._gate_at_work: OwnGate | None = None
        self._specs: list[EngineSpec] = []  # of every engine built so far: a round may use any
        self._numbers = count()
        self.stopped = ""  # by what, where the tests did not come to their end
        self.cut_off: OwnCase | None = None  # of the test that was stopped: pytest makes no report of it

    # ------------------------------------------------------------------ what is known

    @cached_property
    def device(self) -> Device:
        return find_device()

    @cached_property
    def stored(self) -> tuple[Path, Baseline] | None:
        """The baseline of tests' own figures on this device."""
        roots = [self.options.baselines, self.options.state / "baselines"]
        return find_baseline(roots, self.device.key, OWN, may_be_expired=self.options.update_reason is not None)

    def has_baseline(self, case_id: str) -> bool:
        """Whether a case can be judged; where its rounds are to become the baseline that does not count."""
        is_known = self.stored is not None and case_id in self.stored[1].cases
        return is_known and self.options.update_reason is None

    @cached_property
    def _here(self) -> Environment:
        made = environment_of(self.device, {}, self.options.plant, self.gate.cpus)
        return replace(made, machine=self._machine)

    def environment(self, versions: Mapping[str, str]) -> Environment:
        """This machine with the versions of engines."""
        return replace(self._here, versions={**self._here.versions, **versions})

    def judge(self, case: OwnCase) -> OwnCase:
        """The case with its verdict."""
        baseline = self.stored[1] if self.stored else None
        return judged(
            case, self.started, self.gate, baseline, self.policy, known=self._known_of(case),
            waivers=self.options.waivers,
        )  # fmt: skip

    def _known_of(self, case: OwnCase) -> Known:
        key = case.info.id, case.info.hash
        if key not in self._known:
            self._known[key] = recall(history_path(self.options.state), case.as_run(self.started), self.stored).known
        return self._known[key]

    # ------------------------------------------------------------------ the device

    @contextmanager
    def lease(self, *specs: EngineSpec) -> Iterator[tuple[int, ...]]:
        """The device, held from the outermost `with` on; gives descriptors for children to keep open."""
        if self._handles is not None:
            yield self._handles
            return
        wanted = places(self.device, (*self._specs, *specs))
        with leased(wanted, Wait(self.options.lease_wait_s, self._tell, self.options.lease_option)) as handles:
            self._handles = handles
            try:
                yield handles
            finally:
                self._handles = None

    @contextmanager
    def gate_at_work(self, gate: OwnGate) -> Iterator[None]:
        """Engines that run in the body are what the gate's figures are about."""
        self._gate_at_work = gate
        try:
            yield
        finally:
            self._gate_at_work = None

    def use(self, engine: OwnEngine) -> None:
        if self._gate_at_work is not None:
            self._gate_at_work.use(engine)

    # ------------------------------------------------------------------ what tests ask for

    def engine(self, name: str, fields: Mapping[str, Any]) -> OwnEngine:
        """An engine from the cache, or built now: the suite's of that name, or as its keys say.

        Raises:
            UsageError: no such engine, keys that cannot be, or a checkpoint that is missing.
            EngineError: it is not supported here, or the build failed.
        """
        spec = read_engine(name, fields, self._root) if fields else self._of_suite(name)
        if reason := why_unsupported(spec, self.device):
            raise UsageError(f"engine '{name}': {reason}")
        with self.lease(spec) as leases:
            job = BuildJob(spec, self.device, self.options.state / "engines", self.options.rebuild)
            self._specs.append(spec)
            return OwnEngine(spec, prepare(job, work_folder(self.options.state, self.device), leases), self)

    def _of_suite(self, name: str) -> EngineSpec:
        known = {spec.name: spec for spec in self.suite.engines} if self.suite else {}
        if name not in known:
            raise UsageError(
                f"no engine '{name}' in the suite; there: {', '.join(known) or 'none'}. Or say what it is: "
                "perfgate_engine(backend=..., model=...)"
            )
        return known[name]

    def work_files(self, name: str) -> Files:
        """Files of a process of ours, named by this process's number too: workers share the folder."""
        return Files.of(work_folder(self.options.state, self.device), f"own-{os.getpid()}-{next(self._numbers)}-{name}")

    def gate_of(self, node_id: str) -> OwnGate:
        """The gate of a test."""
        case_id = case_id_of(node_id)
        other = self._ids.setdefault(case_id, node_id)
        if other != node_id:
            raise UsageError(f"{node_id} and {other} would both be the case '{case_id}': rename one of them")
        return OwnGate(case_id, self)


def case_id_of(node_id: str) -> str:
    """'perf-test_it.py::test_speed[int8]' as names of cases are: 'perf-test_it-test_speed-int8'."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", node_id.replace(".py::", "::")).strip("-.")
