"""A sweep in words: what each value costs and gives, which configuration to pick, and what to leave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from perfgate.metrics import CATALOGUE
from perfgate.pareto import LEAST, SLACK, Standing, standing
from perfgate.percent import percent
from perfgate.report.figures import count, duration, quantity, share
from perfgate.sweep_advice import Goal, Pick, Waste, picks, wastes
from perfgate.sweep_effects import Basis, Change, Effect
from perfgate.tradeoffs import BUILD, QUALITY, Option, Tradeoffs
from perfgate.versus import geometric_mean

TITLES = {
    "build_s": "build time",
    "engine_bytes": "engine size",
    "load_s": "load time",
    "peak_memory_bytes": "peak memory",
    "peak_gpu_memory_bytes": "peak GPU memory",
    "e2el_p95": "p95 latency",
    "ttft_mean": "mean TTFT",
    "tpot_mean": "mean TPOT",
    "requests_per_s": "throughput",
    "output_tokens_per_s": "token throughput",
    "perplexity": "perplexity",
}
_MOST_NAMES = 4
_LARGE = 0.2  # log units: above, a factor reads better


def title(metric: str) -> str:
    return TITLES.get(metric, metric)


def figure(option: Option, metric: str) -> str:
    """The geometric mean over rounds, with its unit."""
    return quantity(geometric_mean(option.figures[metric]), CATALOGUE[metric].unit)


def span(option: Option, metric: str) -> str:
    """Lowest to highest round, where there are several."""
    values = option.figures[metric]
    low, high = (
        quantity(value, CATALOGUE[metric].unit, like=max(values), brief=True) for value in (min(values), max(values))
    )
    return f"{low} to {high}" if len(values) > 1 else "one value"


def effect_sentences(found: Tradeoffs) -> list[str]:
    """One for each value of each axis that has a pair, and one for each axis that has none."""
    said = [effect_sentence(one, found.traffic) for one in found.effects]
    told = {one.axis for one in found.effects}
    untold = [axis for axis, values in found.axes if axis not in told and len(values) > 1 and found.options]
    return said + [f"{axis}: no two measured configurations differ in it alone; nothing can be said" for axis in untold]


def effect_sentence(effect: Effect, traffic: str) -> str:
    """'max_input_len 32768 costs 2.1x build time and 1.6x engine size for no gain on this traffic (...)'."""
    costs, gains = (_listed(changes) for changes in (effect.costs, effect.gains))
    if costs and gains:
        what = f"costs {costs}, and gives {gains}"
    elif costs:
        what = f"costs {costs}" + (" for no gain on this traffic" if effect.is_idle else "")
    elif gains:
        what = f"gives {gains} at no cost that these rounds show"
    else:
        what = "makes no difference that these rounds show"
    if effect.undecided:
        what += f"; too noisy to tell whether it gives something: {_listed(effect.undecided)}"
    return f"{effect.axis} {effect.value} {what} ({_basis(effect)}; traffic: {traffic})"


def _basis(effect: Effect) -> str:
    bases = {one.basis for one in effect.changes}
    over = "intervals of 95 % over pairs" if Basis.PAIRS in bases else "intervals of 95 % from the rounds' noise"
    return f"against {effect.against}, all else equal, {count(effect.pairs, 'pair')}; {over}"


def _listed(changes: Sequence[Change]) -> str:
    words = [_change(one) for one in changes]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _change(one: Change) -> str:
    """'2.1x build time [1.9, 2.3]'; three digits, so that small differences show."""
    return f"{one.ratio:.3g}x {title(one.metric)} [{one.low:.3g}, {one.high:.3g}]"


# ------------------------------------------------------------------ advice


def advice(found: Tradeoffs) -> list[str]:
    """What to pick and what to leave; empty where nothing was measured."""
    if not found.options:
        return []
    lines = [_picked(found, one) for one in picks(found)]
    lines += [_wasted(found, one) for one in wastes(found)]
    told = {one.option.name for one in wastes(found)}
    rest = [one for one in found.options if not one.is_on_front and one.name not in told]
    lines += [f"dominated: {one.name}, by {_names([found.option(name) for name in one.dominated_by])}" for one in rest]
    lines += _idle_values(found)
    return lines


def _picked(found: Tradeoffs, pick: Pick) -> str:
    one = pick.option
    build = "" if pick.goal is Goal.BUILD else f", built in {figure(one, BUILD)}"
    value = f"{title(pick.metric)} {figure(one, pick.metric)} ({span(one, pick.metric)})"
    said = f"for {pick.goal}: {one.name}: {value}{build}"
    if pick.equals:
        said += f"; the noise does not tell it from {_names(pick.equals)}"
    if pick.quality is Standing.WORSE:
        said += f"; its perplexity is {_worse(found, one)}"
        said += f"; without that loss: {pick.safe.name}, {figure(pick.safe, pick.metric)}" if pick.safe else ""
    return said


def _worse(found: Tradeoffs, option: Option) -> str:
    best = min(geometric_mean(one.figures[QUALITY]) for one in found.options)
    return f"{percent(geometric_mean(option.figures[QUALITY]) / best - 1)} above the best"


def _wasted(found: Tradeoffs, waste: Waste) -> str:
    one, other = waste.option, waste.instead
    ratio = geometric_mean(one.figures[BUILD]) / geometric_mean(other.figures[BUILD])
    better = [name for name in found.objectives if name != BUILD and _is_ahead(found, other, one, name)]
    more = f", and has better {' and '.join(map(title, better))}" if better else ""
    instead = f"{other.name}, which is as good in all else"
    return f"not worth its build: {one.name} builds {ratio:.3g}x as long as {instead}{more}"


def _is_ahead(found: Tradeoffs, one: Option, other: Option, metric: str) -> bool:
    return standing(metric, one.figures, other.figures, found.noises[metric]) is Standing.BETTER


def _idle_values(found: Tradeoffs) -> Iterator[str]:
    """Values of axes that cost build time and give nothing."""
    for effect in found.effects:
        dear = next((one for one in effect.costs if one.metric == BUILD), None)
        if dear is not None and effect.is_idle:
            yield (
                f"not worth its build: {effect.axis} {effect.value}, {dear.ratio:.3g}x the build time of "
                f"{effect.against} and no gain on this traffic"
            )


def _names(options: Sequence[Option]) -> str:
    names = [one.name for one in options]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def headline(found: Tradeoffs) -> str:
    """What was swept, how much of it was measured, how long it took."""
    parts = [f"{count(len(found.options), 'configuration')} measured", f"{len(found.front)} on the front"]
    parts += [f"{len(found.failed)} FAILED"] if found.failed else []
    parts += [f"{len(found.skipped)} skipped"] if found.skipped else []
    parts += ["STOPPED before its end"] if found.stopped else []
    return f"sweep of {found.suite} on {found.environment.device}: {', '.join(parts)}; {duration(found.seconds)}"


def resolution(found: Tradeoffs, metric: str) -> str:
    """The difference beyond which two configurations are told apart: '3.1 %'; of large ones the factor, '1.8x'."""
    rounds = max(len(one.figures[metric]) for one in found.options)
    limit = found.noises[metric].limit(rounds, rounds)
    return share(limit) if limit < _LARGE else f"{math.exp(limit):.2g}x"


def front_rule(found: Tradeoffs) -> str:
    """How the front is taken, in a sentence."""
    over = ", ".join(map(title, found.objectives))
    told = ", ".join(f"{title(name)} {resolution(found, name)}" for name in found.objectives)
    return (
        f"The front is over {over}. A configuration is dominated where another is better in something by more than "
        f"the spread of the rounds (95 %, at least {share(LEAST)}), in nothing worse by more than that or "
        f"{share(SLACK)}, and ahead all in all. These rounds tell apart differences of {told}."
    )
