"""Server control, on real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfgate.engines.kept import Launch, Patience, Routes, free_port, log_tail
from perfgate.engines.openai import Progress, attach, serve
from perfgate.errors import EngineError, UsageError
from perfgate.process_tree import process_of

SCRIPT = Path(__file__).with_name("small_server.py")
QUICK = Patience(ready_s=20.0, poll_s=0.02, progress_s=0.1, interrupt_s=0.3, terminate_s=0.3)


def launch(*args: str, port: int | None = None, **more: object) -> Launch:
    at = port or free_port()
    return Launch((sys.executable, str(SCRIPT), str(at), *args), at, **more)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    found = process_of(pid)
    return found is not None and found.lives


def all_end(pids: list[int], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


def test_a_server_is_awaited_described_and_ended(tmp_path: Path) -> None:
    told: list[Progress] = []

    with serve(launch("--ready-after", "0.6"), tmp_path / "server.log", QUICK, told.append) as server:
        server.check()
        pid = server.pid
        facts = server.facts

    assert pid is not None
    assert not is_alive(pid)
    assert facts.version == "9.8.7"
    assert facts.models == ("small",)
    assert facts.model == "small"
    assert facts.ready_s is not None
    assert facts.ready_s >= 0.5
    assert facts.url.startswith("http://127.0.0.1:")
    assert any(progress.last_line == "the last line" for progress in told)
    assert [progress.elapsed_s for progress in told] == sorted(progress.elapsed_s for progress in told)


def test_facts_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_environment_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    wish = launch("--api-key", "sk-argument-secret", variables={"CUDA_VISIBLE_DEVICES": "0"})

    with serve(wish, tmp_path / "server.log", QUICK) as server:
        facts = server.facts

    assert "secret" not in repr(facts)
    assert "hidden" not in repr(facts)
    assert "not-to-be-seen" not in repr(facts)
    assert facts.argv[-2:] == ("--api-key", "***")
    assert facts.variables["CUDA_VISIBLE_DEVICES"] == "0"
    assert facts.variables["HF_HUB_OFFLINE"] == "1"
    assert facts.answers["/server_info"]["max_num_tokens"] == 8192


def test_the_name_that_a_profile_knows_goes_over_what_the_server_lists(tmp_path: Path) -> None:
    with serve(launch(model="/models/pinned"), tmp_path / "server.log", QUICK) as server:
        assert server.facts.model == "/models/pinned"


def test_a_server_without_health_is_asked_for_its_models(tmp_path: Path) -> None:
    with serve(launch("--no-health", "--ready-after", "0.3"), tmp_path / "server.log", QUICK) as server:
        assert server.facts.ready_s is not None
        assert server.facts.ready_s >= 0.25


def test_a_server_that_dies_at_start_is_told_with_its_log(tmp_path: Path) -> None:
    wish = launch(
        "--die-after", "0.1", "--ready-after", "60", "--say", "sk-argument-secret", "--api-key", "sk-argument-secret"
    )

    with pytest.raises(EngineError) as caught, serve(wish, tmp_path / "server.log", QUICK):
        pass

    text = str(caught.value)
    assert "the server ended with code 3 after" in text
    assert "the last line" in text
    assert "starting with ***" in text
    assert "sk-argument-secret" not in text
    assert str(tmp_path / "server.log") in text


def test_a_server_that_is_killed_is_told_so(tmp_path: Path) -> None:
    wish = Launch((sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"), free_port())

    with pytest.raises(EngineError, match="was killed by signal 9"), serve(wish, tmp_path / "server.log", QUICK):
        pass


def test_a_server_that_never_gets_ready_ends_at_the_deadline(tmp_path: Path) -> None:
    patience = Patience(ready_s=0.8, poll_s=0.02, interrupt_s=0.3, terminate_s=0.3)
    pids = tmp_path / "pids"

    with (
        pytest.raises(EngineError, match=r"was not ready within 0\.8 s: GET /health answered 503(.|\n)*the last line"),
        serve(launch("--ready-after", "60", "--pids", str(pids)), tmp_path / "server.log", patience),
    ):
        pass

    assert all_end(json.loads(pids.read_text()))


def test_a_server_that_ends_in_use_is_noticed(tmp_path: Path) -> None:
    with serve(launch(), tmp_path / "server.log", QUICK) as server:
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        assert all_end([server.pid])
        time.sleep(0.3)  # for the supervisor to see it

        with pytest.raises(EngineError, match="the server ended while it was in use"):
            server.check()


def test_a_server_that_ignores_signals_is_killed(tmp_path: Path) -> None:
    with serve(launch("--ignore-signals"), tmp_path / "server.log", QUICK) as server:
        pid = server.pid

    assert pid
    assert not is_alive(pid)


def test_grandchildren_end_too_even_in_sessions_of_their_own(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    with serve(launch("--children", "4", "--pids", str(pids)), tmp_path / "server.log", QUICK):
        family = json.loads(pids.read_text())
        assert all(map(is_alive, family))

    assert len(family) == 5
    assert all_end(family)


def test_grandchildren_of_a_server_that_died_end_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    wish = launch("--children", "2", "--pids", str(pids), "--die-after", "0.3", "--ready-after", "60")

    with pytest.raises(EngineError, match="code 3"), serve(wish, tmp_path / "server.log", QUICK):
        pass

    assert all_end(json.loads(pids.read_text()))


KEEPER = """
import sys, time
from pathlib import Path
from perfgate.engines.kept import Launch, Patience
from perfgate.engines.openai import serve
argv = sys.argv[2:]
quick = Patience(poll_s=0.02, interrupt_s=0.3, terminate_s=0.3)
with serve(Launch((sys.executable, *argv), int(argv[1])), Path(sys.argv[1]), quick) as server:
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_we_are_killed(tmp_path: Path, sign: signal.Signals) -> None:
    pids = tmp_path / "pids"
    args = [str(SCRIPT), str(free_port()), "--children", "2", "--ignore-signals", "--pids", str(pids)]
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path / "server.log"), *args], stdout=subprocess.PIPE
    )
    with keeper:
        assert keeper.stdout
        assert keeper.stdout.readline() == b"ready\n"
        family = json.loads(pids.read_text())
        assert all(map(is_alive, family))

        keeper.send_signal(sign)

    assert len(family) == 3
    assert all_end(family)


def test_the_server_dies_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with serve(launch(), tmp_path / "server.log", QUICK) as server:
        pid = server.pid
        assert pid
        supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

        os.kill(supervisor, signal.SIGKILL)

        assert all_end([pid])


def test_a_log_that_floods_stays_within_its_bound_with_its_beginning_and_end(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    patience = Patience(poll_s=0.02, interrupt_s=0.3, terminate_s=0.3, log_bytes=100_000)

    with serve(launch("--flood", "3000000"), log, patience):
        pass

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100_000
    assert log.read_text().startswith("starting with nothing")
    assert log_tail(log, 2)[-1] == "the last line"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_an_earlier_log_of_the_name_is_replaced(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    for end in ("", ".tail", ".tail.old"):
        log.with_name(f"server.log{end}").write_text("of another day\n")

    with serve(launch(), log, QUICK):
        pass

    assert log_tail(log, 100) == ["starting with nothing", "the last line"]


def test_configuration_files_are_written_before_the_start(tmp_path: Path) -> None:
    config = tmp_path / "new" / "config.yaml"

    with serve(launch(files={config: "a: 1\n"}), tmp_path / "server.log", QUICK) as server:
        assert config.read_text() == "a: 1\n"
        assert server.facts.files == {"config.yaml": "a: 1\n"}


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="'no-such-server' is not found"),
        serve(Launch(("no-such-server",), free_port()), tmp_path / "server.log", QUICK),
    ):
        pass


def test_a_program_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("no interpreter line\n")
    program.chmod(0o755)

    with (
        pytest.raises(EngineError, match=r"broken' cannot be started: .*Exec format error"),
        serve(Launch((str(program),), free_port()), tmp_path / "server.log", QUICK),
    ):
        pass


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with (
            pytest.raises(UsageError, match=f"port {port} .* is taken"),
            serve(launch(port=port), tmp_path / "l", QUICK),
        ):
            pass


def test_an_argument_is_never_read_by_a_shell(tmp_path: Path) -> None:
    words = "$(touch made); `touch made` | touch made"
    wish = launch("--say", words)

    with serve(wish, tmp_path / "server.log", QUICK):
        pass

    assert log_tail(tmp_path / "server.log", 2)[0] == f"starting with {words}"
    assert not Path("made").exists()


# ------------------------------------------------------------------ attaching


def test_a_running_server_is_attached_to_and_left_running(tmp_path: Path) -> None:
    with serve(launch(), tmp_path / "server.log", QUICK) as own:
        server = attach(f"{own.url}/v1/")
        server.check()

        assert server.url == own.url
        assert server.pid is None
        assert server.facts.models == ("small",)
        assert server.facts.ready_s is None
        assert server.facts.argv == ()
        own.check()


def test_attaching_to_nothing_ends_at_the_deadline() -> None:
    with pytest.raises(EngineError, match=r"not ready within 0\.1 s: GET /health failed"):
        attach(f"http://127.0.0.1:{free_port()}", patience=Patience(ready_s=0.1, poll_s=0.02))


def test_attaching_to_a_server_without_these_routes_ends_at_the_deadline(tmp_path: Path) -> None:
    with (
        serve(launch(), tmp_path / "server.log", QUICK) as own,
        pytest.raises(EngineError, match="GET /other answered 404"),
    ):
        attach(own.url, Routes(health=("/none", "/other")), Patience(ready_s=0.1, poll_s=0.02))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://a",
        "http://",
        "http://a:99999",
        "http://a:0",
        "http://user:secret@a",
        "http://a?b=1",
    ],
)
def test_a_url_of_no_server_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(UsageError, match="expected one like") as caught:
        attach(url)

    assert "secret" not in str(caught.value)
