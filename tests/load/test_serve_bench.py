"""`perfgate serve-bench` against a real server on loopback: files, table and exit codes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_server import FakeServer, Manner

from perfgate.cli import main
from perfgate.engines.kept import free_port
from perfgate.load.priority import real_time

ARGS = ["--model", "m", "--isl", "8", "--osl", "4", "--random-ids", "--vocab-size", "100", "--ignore-eos"]


def _bench(server: FakeServer, folder: Path, *more: str) -> int:
    return main(["serve-bench", "--url", server.url, *ARGS, "--out", str(folder), *more])


def test_each_level_leaves_its_figures_and_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Manner()) as server:
        code = _bench(server, tmp_path, "--concurrency", "1,3", "--num-prompts", "4x", "--warmup", "1x")

    plain = json.loads((tmp_path / "concurrency_3.json").read_text())
    requests = (tmp_path / "concurrency_3.requests.jsonl").read_text().splitlines()
    assert (plain["completed"], plain["failed"], plain["total_output_tokens"]) == (12, 0, 48)
    assert plain["max_concurrency"] == 3
    assert 0 < plain["mean_ttft_ms"] <= plain["mean_e2el_ms"] < 10_000
    assert len(requests) == 15
    assert sum(json.loads(line)["is_warmup"] for line in requests) == 3
    out = capsys.readouterr().out
    assert "concurrency_1" in out
    assert "TTFT mean" in out
    assert code == int("invalid" in out)


@pytest.mark.parametrize("option", [[], ["--quiet"]])
def test_progress_leaves_standard_output_to_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    monkeypatch.setattr("perfgate.serve_bench_progress._PLAIN_EVERY_S", 0.0)
    with FakeServer(Manner(itl_s=0.05)) as server:
        _bench(server, tmp_path, "--concurrency", "1", "--num-prompts", "8", "--warmup", "0", *option)

    told = capsys.readouterr()
    assert ("concurrency_1: " in told.err) == (not option)
    assert (" of 8 done" in told.err) == (not option)
    assert " done" not in told.out


def test_a_bench_that_is_stopped_tells_the_runs_that_it_has(tmp_path: Path) -> None:
    start = "import sys; from perfgate.cli import main; sys.exit(main())"
    with FakeServer(Manner(itl_s=0.02)) as server:
        command = [sys.executable, "-c", start, "serve-bench", "--url", server.url, *ARGS, "--out", str(tmp_path)]
        command += ["--concurrency", "1,2", "--num-prompts", "100x", "--warmup", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
            until = time.monotonic() + 60
            while not (tmp_path / "concurrency_2.log").exists():
                assert time.monotonic() < until
                time.sleep(0.02)
            bench.send_signal(signal.SIGINT)
            told, _ = bench.communicate()

    lines = [line.split()[0] for line in told.splitlines()]
    assert bench.returncode == 1
    assert "the run at work is left out\nstopped by SIGINT\n" in told
    assert lines.count("concurrency_1") == 1
    assert "concurrency_2" not in lines
    assert not (tmp_path / "concurrency_2.json").exists()


def test_failures_make_the_run_invalid_and_the_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Manner(always="status")) as server:
        code = _bench(server, tmp_path, "--concurrency", "2", "--num-prompts", "4", "--warmup", "0")

    plain = json.loads((tmp_path / "concurrency_2.json").read_text())
    assert code == 1
    assert (plain["completed"], plain["failed"]) == (0, 4)
    assert plain["perfgate"]["failures"] == {"http status": 4}
    assert plain["p99_ttft_ms"] is None
    assert "invalid: 4 of 4 requests failed (4 http status)" in capsys.readouterr().out


def test_a_wrong_option_is_one_line_and_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["serve-bench", "--url", "http://127.0.0.1:9", *ARGS, "--out", str(tmp_path)])

    assert code == 4
    assert "--concurrency, --request-rate or --trace" in capsys.readouterr().err


def test_several_client_processes_share_the_load(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server:
        _bench(server, tmp_path, "--concurrency", "4", "--num-prompts", "12", "--warmup", "0", "--shards", "2")

    plain = json.loads((tmp_path / "concurrency_4.json").read_text())
    assert (plain["completed"], plain["failed"], plain["max_concurrency"]) == (12, 0, 4)
    assert len(list(tmp_path.glob("concurrency_4*.raw"))) == 2


def test_requests_go_through_the_proxy_that_is_named(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server:
        nobody = f"http://127.0.0.1:{free_port()}"
        code = _bench(server, tmp_path, "--concurrency", "1", "--num-prompts", "2", "--warmup", "0", "--proxy", nobody)

    plain = json.loads((tmp_path / "concurrency_1.json").read_text())
    assert (code, plain["completed"], plain["failed"]) == (1, 0, 2)


def test_no_client_process_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer(Manner()) as server:
        assert _bench(server, tmp_path, "--concurrency", "1", "--shards", "0") == 4

    assert "--shards: found 0" in capsys.readouterr().err


def test_the_real_time_class_is_asked_for(tmp_path: Path) -> None:
    with FakeServer(Manner()) as server:
        _bench(server, tmp_path, "--concurrency", "1", "--num-prompts", "2", "--warmup", "0", "--real-time")

    plain = json.loads((tmp_path / "concurrency_1.json").read_text())
    with real_time(is_wished=True) as is_allowed:
        assert ("real-time class" in plain["perfgate"]["path"]) == is_allowed
