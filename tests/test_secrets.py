"""Secrets of the environment and of URLs reach nothing that a gate writes or says."""

from __future__ import annotations

import pytest

from conftest import Project

TOKEN, KEY, PASSWORD = "hf_plantedPlantedPlanted01", "sk-planted-planted-planted-02", "planted-password-03"
DATABASE = "planted-password-04"
BY_FORM = {  # in no variable whose name tells
    "token": "hf_plantedPlantedPlanted05",
    "password": "planted-password-06",
    "query": "planted07abc",
    "bearer": "plantedPlanted08",
    "header": "planted09header",
}
FORMS = (
    f"https://me:{BY_FORM['password']}@hub.example/m?api_key={BY_FORM['query']} 'Bearer {BY_FORM['bearer']}' "
    f"{BY_FORM['token']} Authorization: Basic {BY_FORM['header']}"
)
SAY = (
    "401 for https://me:$HUB_PASSWORD@hub.example/m?api_key=$OPENAI_API_KEY with Authorization: Bearer $HF_TOKEN "
    "and $HF_TOKEN; $DATABASE_URL is not reached; $CLIENT_SAYS"
)
ENGINES = f"""
  unbuilt: {{engine_args: {{fail: build, say: "{SAY}"}}}}
  unloaded: {{engine_args: {{fail: load, say: "{SAY}"}}}}
  unscored: {{engine_args: {{fail: score, say: "{SAY}"}}}}
"""


def test_a_gate_whose_engines_tell_secrets_writes_none(
    pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project(ENGINES)
    for name, value in (("HF_TOKEN", TOKEN), ("OPENAI_API_KEY", KEY), ("HUB_PASSWORD", PASSWORD)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLIENT_SAYS", f"{DATABASE} is wrong, {FORMS}")
    monkeypatch.setenv("DATABASE_URL", f"postgres://u:{DATABASE}@h/db")

    found = pytester.runpytest_inprocess(
        *("-p", "no:cacheprovider", "--perfgate-rounds", "1", "--junitxml", "junit.xml", "-v"),
        *("-k", "(build or text) and not one"),
    )

    assert found.ret == 1
    said = f"{found.stdout}\n{found.stderr}"
    assert "401 for https://***@hub.example/m?api_key=*** with Authorization: ***" in said
    written = {path: path.read_bytes() for path in pytester.path.rglob("*") if path.is_file()}
    logs = [data for path, data in written.items() if path.suffix == ".log"]
    assert any(b"https://***@hub.example/m?api_key=*** 'Bearer ***' *** Authorization: ***" in log for log in logs)
    told = {
        str(path.relative_to(pytester.path)): secret
        for secret in (TOKEN, KEY, PASSWORD, DATABASE, *BY_FORM.values())
        for path, data in {**written, pytester.path / "terminal": said.encode()}.items()
        if secret.encode() in data
    }
    assert told == {}
