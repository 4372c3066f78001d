"""What a builder's log tells: phases with seconds, and the line that says why it failed.

Wordings are those of TensorRT and TensorRT-LLM from 0.20 to 1.3.0rc20. Where a wording has changed the phase
is missing and its time stays in the whole, so that the sum is right in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from perfgate.record import printable

_TENSORRT = re.compile(r"Engine generation completed in (\d+(?:\.\d+)?) seconds")
_NETWORK = re.compile(r"Total time of building (?!all engines)[^\n:]*: (\d+):(\d\d):(\d\d)")
_SERIALISE = re.compile(r"Engine serialized\. Total time: (\d+):(\d\d):(\d\d)")
_DEFINE = re.compile(r"Total time of constructing network from module object (\d+(?:\.\d+)?) seconds")
_WEIGHTS = re.compile(r"Total time to initialize the weights in network [^\n:]*: (\d+):(\d\d):(\d\d)")
_ERROR = re.compile(r"\[E\]|\w*(?:Error|Exception)\b|\berror\b")


def build_phases(log: str, whole_s: float) -> Mapping[str, float]:
    """Seconds by phase of a trtllm-build run that took `whole_s`; they add up to it.

    Ranks that were built one after the other add up; where the parts come to more than the whole (ranks
    built at the same time), only the whole is told.
    """
    parts = {
        "network": _seconds(_DEFINE, log),
        "weights": _clock(_WEIGHTS, log),
        "compile": _seconds(_TENSORRT, log) or _clock(_NETWORK, log),
        "serialise": _clock(_SERIALISE, log),
    }
    told = {name: seconds for name, seconds in parts.items() if seconds > 0}
    rest_s = whole_s - sum(told.values())
    return {**told, "trtllm-build, the rest": rest_s} if told and rest_s >= 0 else {"trtllm-build": whole_s}


def reason(log: str) -> str:
    """The last line that names an error, else the last line at all."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    wrong = [line for line in lines if _ERROR.search(line)]
    return printable((wrong or lines or ["(the log is empty)"])[-1])[:300]


def _seconds(pattern: re.Pattern[str], log: str) -> float:
    return sum(float(found) for found in pattern.findall(log))


def _clock(pattern: re.Pattern[str], log: str) -> float:
    """The sum of HH:MM:SS times, in seconds."""
    return float(sum(int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in pattern.findall(log)))
