"""The script finds every command, and brings no more into memory than the one that is called needs."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m2d_clap.service.cli import build, main

COMMANDS = sorted(entry.name for entry in entry_points(group="m2d_clap.commands"))
HEAVY = ("torch", "transformers", "scipy")


def test_the_help_lists_every_command_with_what_it_does() -> None:
    shown = CliRunner().invoke(build(), ["--help"], env={"COLUMNS": "200"}).stdout
    assert {"index", "search", "serve", "train", "evaluate", "keys", "library"} <= set(COMMANDS)
    for name in COMMANDS:
        line = next(line for line in shown.splitlines() if line.startswith(f"│ {name} "))
        assert len(line.strip("│ ").removeprefix(name).strip()) > 20


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(name: str) -> None:
    done = CliRunner().invoke(build(), [name, "--help"])
    assert done.exit_code == 0 and f" {name} [OPTIONS]" in done.stdout


def test_an_unknown_command_is_wrong_use() -> None:
    assert CliRunner().invoke(build(), ["serf"]).exit_code == 2


def test_a_folder_that_may_not_be_written_is_a_message_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Path, name: str, scopes: object) -> str:
        raise OSError(28, "No space left on device", "keys.json")

    monkeypatch.setattr("m2d_clap.service.keys.KeyFile.add", full)
    monkeypatch.setattr(sys, "argv", ["m2d-clap", "keys", "add", "Ann"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "No space left on device: 'keys.json'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("keys", "--help"), ("library", "--help"), ("search", "--help"), ("serve", "--help")]
)
def test_what_needs_no_model_waits_for_no_torch(words: tuple[str, ...]) -> None:
    seen = f"print([m for m in {HEAVY} if m in sys.modules])"
    script = f"import sys, m2d_clap.service.app\nfrom m2d_clap.service.cli import build\ntry: build()({list(words)})\nfinally: {seen}"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
