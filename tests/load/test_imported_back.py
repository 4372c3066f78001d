"""What `perfgate serve-bench` writes is read back by `perfgate import`, figure by figure."""

import json
from pathlib import Path

import pytest
from fake_server import FakeServer, Manner

from perfgate.cli import main
from perfgate.record import RUN_SCHEMA, Run, read_record

ARGS = ["--model", "m", "--isl", "8", "--osl", "4", "--random-ids", "--vocab-size", "100", "--ignore-eos"]


def test_figures_of_serve_bench_are_those_of_the_imported_run(tmp_path: Path) -> None:
    load = ["--concurrency", "2", "--num-prompts", "12", "--warmup", "2"]
    with FakeServer(Manner()) as server:
        main(["serve-bench", "--url", server.url, *ARGS, "--out", str(tmp_path), *load])

    code = main(["import", str(tmp_path / "concurrency_2.json"), "--out", str(tmp_path / "run.json")])

    plain = json.loads((tmp_path / "concurrency_2.json").read_text())
    run = read_record(tmp_path / "run.json", Run, RUN_SCHEMA)
    (measured,) = run.rounds[0].cases
    assert run.cases[0].origin is not None
    assert run.cases[0].origin.instrument == "perfgate serve-bench"
    assert measured.faults == tuple(plain["perfgate"]["invalid"])
    assert code == int(bool(measured.faults))
    if not measured.faults:
        for stem in ("ttft", "tpot", "itl", "e2el"):
            assert measured.values[f"{stem}_mean"] == pytest.approx(plain[f"mean_{stem}_ms"] / 1e3)
            assert measured.values[f"{stem}_p50"] == pytest.approx(plain[f"median_{stem}_ms"] / 1e3)
        assert measured.values["output_tokens"] == 48
        assert measured.values["requests_per_s"] == pytest.approx(plain["request_throughput"])
