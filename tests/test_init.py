"""`perfgate init`: what it writes can be loaded, planned and run, and nothing that is there is overwritten."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from perfgate.case import Precision, WorkKind
from perfgate.cli import main
from perfgate.device import Device
from perfgate.errors import UsageError
from perfgate.starter import Answers, Ci, Entry, State, entries, write
from perfgate.starter_look import checkpoints, fitting, size_line
from perfgate.starter_texts import GENERATION, HELD_OUT, texts_of
from perfgate.suite import load_suite

HERE = Path(__file__).parent
LLAMA = {
    "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256,
}  # fmt: skip
GPU = Device("sm_90/h200-141gb", "NVIDIA H200")
CPU = Device("cpu/x86_64-avx512", "a CPU")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    (folder / "weights").write_bytes(b"weights")
    return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERFGATE_SUITE", raising=False)
    return tmp_path


def _init(*args: str) -> int:
    return main(["init", "--model", "model", "--backend", "fake_engine:FakeBackend", "--yes", *args])


def test_an_empty_folder_gets_a_gate_that_can_be_planned(
    fake: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _init("--ci", "github") == 0

    said = capsys.readouterr().out
    suite = load_suite(fake / "suite.yaml")
    workflow = yaml.safe_load((fake / ".github/workflows/perfgate.yml").read_text())
    assert {case.kind for case in suite.cases} == {WorkKind.BUILD, WorkKind.LATENCY, WorkKind.PERPLEXITY}
    assert {case.engine.model for case in suite.cases} == {model.resolve()}
    assert workflow["permissions"] == {}
    assert tomllib.loads((fake / "pyproject.toml").read_text())["tool"]["perfgate"] == {"suite": "suite.yaml"}
    assert f"{len(suite.cases)} cases to measure, 0 skipped" in said
    assert "put the place of perfgate's action for OWNER/perfgate@COMMIT" in said
    assert main(["plan"]) == 0  # finds the suite by itself


def test_the_job_for_gitlab_is_red_where_nothing_was_judged(fake: Path, model: Path) -> None:
    del model
    assert _init("--ci", "gitlab") == 0

    job = yaml.safe_load((fake / ".gitlab-ci.yml").read_text())["perfgate"]

    first, gate, last = job["script"]
    assert (first, last) == ("rm -f perfgate-out/comparison.json", "test -s perfgate-out/comparison.json")
    assert gate.split()[:4] == ["python3", "-m", "pytest", "perf_tests"]
    assert job["artifacts"]["when"] == "always"


def test_files_that_are_there_are_shown_and_kept(fake: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del model
    for name in ("pyproject.toml", ".gitignore", "suite.yaml"):
        _init()
        capsys.readouterr()
        (fake / name).write_text((fake / name).read_text().replace("perfgate", "mine"))
    before = {path: path.read_bytes() for path in fake.rglob("*") if path.is_file()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perfgate.init_cli._plan", lambda _: True)
        _init()

    said = capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert "| +[tool.perfgate]" in said
    assert "| +.perfgate/" in said
    assert "kept as it is  suite.yaml" in said
    assert "run this again with --force" in said


def test_force_replaces_our_files_and_only_adds_to_shared_ones(fake: Path, model: Path) -> None:
    del model
    (fake / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (fake / ".gitignore").write_text("perfgate-out/\nbuild/")
    (fake / "suite.yaml").write_text("nothing: of ours\n")

    assert _init("--force") == 0

    assert tomllib.loads((fake / "pyproject.toml").read_text())["project"] == {"name": "x"}
    assert (fake / ".gitignore").read_text().split() == ["perfgate-out/", "build/", ".perfgate/"]
    assert load_suite(fake / "suite.yaml").cases


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--model", "nowhere"], "no folder 'nowhere'"),
        (["--workloads", "latncy"], "expected some of latency, perplexity, serving"),
        (["--backend", "openai"], "give --url"),
        (["--backend", "nobody"], "no backend 'nobody'"),
        (["--texts", "model"], "16 or more"),
        (["--gpus", "0"], "expected 1 or more"),
        (["--action", "x/y@z\n- run: rm"], "expected OWNER/REPO@COMMIT"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    fake: Path, model: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    del model

    assert _init(*args) == 4

    assert words in capsys.readouterr().err
    assert not (fake / "suite.yaml").exists()


def test_a_checkpoint_cannot_write_into_the_suite(fake: Path, model: Path) -> None:
    evil = "llama parameters\n    backend: evil"
    (model / "config.json").write_text(json.dumps(LLAMA | {"model_type": evil}))

    assert _init() == 0

    assert {case.engine.backend for case in load_suite(fake / "suite.yaml").cases} == {"fake_engine:FakeBackend"}


def test_no_answer_is_no_traceback(
    fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from perfgate.init_cli import _Asker

    def hang_up(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("perfgate.init_cli._Asker", lambda **_: _Asker(is_live=True, read=hang_up))

    assert main(["init"]) == 4
    assert "no answer: nothing was written" in capsys.readouterr().err
    assert list(fake.iterdir()) == []


def test_the_nearest_checkpoint_is_found_and_asked_for(
    fake: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from perfgate.init_cli import _Asker

    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return ""

    monkeypatch.setattr("perfgate.init_cli._Asker", lambda **_: _Asker(is_live=True, read=answer))

    assert main(["init", "--backend", "fake_engine:FakeBackend"]) == 0

    assert checkpoints(fake) == [model]
    assert asked[0] == f"model: folder of a checkpoint [{model.resolve()}]: "
    assert any(question.startswith("CI (github, gitlab, none)") for question in asked)
    capsys.readouterr()


def test_texts_of_the_user_become_prompts_and_held_out_documents_that_differ(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("".join(f"sentence number {number} of our own. " for number in range(3000)))

    found = texts_of([tmp_path])

    prompts, held_out = (
        [json.loads(line)["text"] for line in found[name].splitlines()] for name in (GENERATION, HELD_OUT)
    )
    assert len(prompts) >= 8
    assert not set(prompts) & set(held_out)


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")

    with pytest.raises(UsageError, match="found 0 pieces of 2400 characters"):
        texts_of([tmp_path])


@pytest.mark.parametrize("backend", ["vllm", "transformers", "tensorrt_llm"])
@pytest.mark.parametrize("kinds", [("latency",), ("latency", "perplexity", "serving")])
def test_suites_for_gpus_are_valid_on_any_machine(
    tmp_path: Path, model: Path, backend: str, kinds: tuple[str, ...]
) -> None:
    found = fitting(backend, model, GPU, 2, {})
    assert not isinstance(found, str)
    answers = Answers("s", model, backend, tuple(map(WorkKind, kinds)), Ci.NONE, tp=2)

    write(tmp_path, entries(answers, found, GPU, tmp_path, ""), force=False)

    suite = load_suite(tmp_path / "suite.yaml")
    assert found.precision is Precision.BF16
    assert {case.engine.tp for case in suite.cases} == {2}
    assert {str(case.kind) for case in suite.cases} == {"build", *kinds}


def test_a_model_that_does_not_fit_is_said_to_be_too_large(model: Path) -> None:
    small = size_line(model, Precision.BF16, GPU, 1, 16 * 10**9, 32 * 1024)
    large = size_line(model, Precision.BF16, GPU, 1, 141 * 10**9, 32 * 1024)

    assert "8.03 B parameters, 16.1 GB of weights in bf16 and 4.29 GB of KV cache" in small
    assert small.endswith("16 GB of GPU memory: likely too large")
    assert large.endswith("141 GB of GPU memory: fits")
    assert size_line(model.parent, Precision.BF16, CPU, 1, None, 1).startswith("unknown architecture; size not known")


def test_a_job_of_ours_in_a_shared_file_counts_as_there(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text("perfgate:\n  script: [mine]\n")

    ((_, state),) = write(tmp_path, [Entry(".gitlab-ci.yml", b"perfgate:\n", adds=True)], force=True)

    assert state is State.SAME


def test_what_init_writes_runs_in_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=":")
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delenv("CI", raising=False)
    (pytester.path / "model").mkdir()
    (pytester.path / "model" / "weights").write_bytes(b"weights")
    monkeypatch.setenv("NODE_NAME", "n7")
    assert _init() == 0

    first = pytester.runpytest_subprocess(
        "perf_tests", "-k", "build and fp32", "-p", "no:cacheprovider", "--perfgate-rounds", "1"
    )

    first.assert_outcomes(skipped=1, deselected=15)
    first.stdout.fnmatch_lines(["perfgate: device *, node n7"])
    first.stdout.fnmatch_lines(["*recorded 1 case in *"])
