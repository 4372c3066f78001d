"""Quantising, from the checkpoint to a verdict: one test for each engine of the suite's section `quantize:`, else none.

A test passes where the engine, or one with other options that was tried after it, loses no more than is allowed
(docs/quantizing.md).
"""

from perfgate.pytest_quantise import Quantisation


def test_quantization(perfgate_quantised: Quantisation) -> None:
    perfgate_quantised.assert_accepted()
