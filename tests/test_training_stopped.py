"""What ends a run too early (a kill, a full disk, a number that is none) costs nothing saved."""

import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from m2d_clap.model import Checkpoint
from m2d_clap.training.loop import Trainer, TrainingDivergedError
from m2d_clap.training.run import RunError, Status, run
from m2d_clap.training.validation import Score

SCRIPT = Path(__file__).with_name("distributed_run.py")
TINY = runpy.run_path(str(SCRIPT))
trainer_of: Callable[..., Trainer] = TINY["trainer"]

# Signals are raised in processes of their own: OpenVINO, which other tests load, gives a thread a stack
# for them, and takes it away from another thread: the next signal is then a segmentation fault.
SIGNALLED = """
import runpy, signal, sys
from pathlib import Path
import torch
from m2d_clap.training.run import run
torch.set_num_threads(1)
tiny = runpy.run_path(sys.argv[1])
number = int(sys.argv[4])
before = signal.getsignal(number)
def show(status):
    if status.step == int(sys.argv[3]):
        signal.raise_signal(number)
try:
    run(Path(sys.argv[2]), tiny["trainer"](tiny["STAGES"]["1"]), {}, None, show, 1, 1)
    print("came to its end")
except KeyboardInterrupt:
    print("was asked to end")
assert signal.getsignal(number) is before
"""

TWICE = """
import signal
from m2d_clap.training.stopping import Stop
with Stop() as stop:
    assert not stop.asked()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    assert stop.asked()
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("ended at once")
"""


def signalled(folder: Path, step: int, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", SIGNALLED, SCRIPT, folder, str(step), str(int(number))]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finished(name: str, folder: Path, **more: Any) -> Trainer:
    trainer = trainer_of(TINY["STAGES"][name])
    run(folder, trainer, {}, more.pop("validation", None), every_epochs=1, log_steps=1, **more)
    return trainer


def assert_same(found: Trainer, wanted: Trainer, folders: tuple[Path, Path]) -> None:
    curves = [(folder / "curves.csv").read_text() for folder in folders]
    assert curves[0] == curves[1]
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name


def test_a_process_killed_outright_goes_on_bit_for_bit(tmp_path: Path) -> None:
    ended = signalled(tmp_path / "killed", 7, signal.SIGKILL)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert torch.load(tmp_path / "killed" / "state.pt", weights_only=True)["step"] == 6
    folders = tmp_path / "killed", tmp_path / "whole"
    found, wanted = (finished("1", folder) for folder in folders)
    assert_same(found, wanted, folders)


def test_validation_does_not_change_how_a_text_encoder_learns(tmp_path: Path) -> None:
    def validation(clap: Any) -> Score:
        assert not any(module.training for module in clap.modules())
        return Score("mAP", 0.5, {"map": 0.5})

    def stop(status: Status) -> None:
        if status.step == 5:
            raise KeyboardInterrupt

    folders = tmp_path / "stopped", tmp_path / "whole"
    with pytest.raises(KeyboardInterrupt):
        finished("2", folders[0], validation=validation, show=stop)
    found, wanted = (finished("2", folder, validation=validation) for folder in folders)
    assert_same(found, wanted, folders)
    assert wanted.clap.text is not None
    assert not wanted.clap.text.model.training and wanted.clap.audio.training


def test_a_run_whose_score_rises_no_more_ends(tmp_path: Path) -> None:
    def validation(_: Any) -> Score:
        return Score("mAP", 3.0 if trainer.epoch == 2 else 1.0, {})

    trainer = trainer_of(TINY["STAGES"]["1"])
    folder, epoch = tmp_path / "run", trainer.plan.steps
    assert run(folder, trainer, {}, validation, every_epochs=1, patience=2) == folder / "best"
    assert trainer.step == 4 * epoch < trainer.steps
    state = torch.load(folder / "state.pt", weights_only=True)
    assert (state["best_step"], state["best"]["chooses"]) == (2 * epoch, 3.0)
    assert finished("1", folder, validation=validation, patience=2).step == 4 * epoch
    assert finished("1", folder, validation=validation, patience=3).step == 5 * epoch
    whole = finished("1", tmp_path / "whole")
    assert torch.equal(
        finished("1", folder).clap.logit_scale, whole.clap.logit_scale
    )  # gone on with, nothing is different


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_asked_to_end_saves_the_step_it_is_in(
    asked: signal.Signals, tmp_path: Path
) -> None:
    folders = tmp_path / "stopped", tmp_path / "whole"
    ended = signalled(folders[0], 5, asked)
    assert (ended.returncode, ended.stdout) == (0, "was asked to end\n"), ended.stderr
    assert torch.load(folders[0] / "state.pt", weights_only=True)["step"] == 5
    found, wanted = (finished("1", folder) for folder in folders)
    assert_same(found, wanted, folders)


def test_asked_in_its_last_step_a_run_comes_to_its_end(tmp_path: Path) -> None:
    ended = signalled(tmp_path, 20, signal.SIGTERM)
    assert (ended.returncode, ended.stdout) == (0, "came to its end\n"), ended.stderr
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 20


def test_a_second_ctrl_c_ends_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "ended at once\n"), ended.stderr


@pytest.fixture
def disk() -> Iterator[Callable[[int | None], None]]:
    """Called with bytes: no file can grow beyond them; the system itself refuses to write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(most: int | None) -> None:
        soft = before[0] if most is None else most
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))

    yield limit
    limit(None)


@pytest.mark.parametrize("falls", ["weights", "state"])
def test_a_full_disk_stops_with_a_message_and_the_same_command_goes_on(
    falls: str, tmp_path: Path, disk: Callable[[int | None], None]
) -> None:
    folder = tmp_path / "full"

    def fill(status: Status) -> None:
        if status.step == 5:
            weights = (folder / "last" / "model.safetensors").stat().st_size
            state = (folder / "state.pt").stat().st_size
            disk(weights // 2 if falls == "weights" else (weights + state) // 2)

    with pytest.raises(RunError, match="make room"):
        finished("1", folder, show=fill)
    disk(None)
    assert torch.load(folder / "state.pt", weights_only=True)["step"] == 4
    assert Checkpoint.load(folder / "last").weights
    assert not list(folder.glob("*.part")) and not list(folder.glob(".last-*"))
    folders = folder, tmp_path / "whole"
    found, wanted = (finished("1", folder) for folder in folders)
    assert_same(found, wanted, folders)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_device_without_space_says_so(tmp_path: Path) -> None:
    def fill(status: Status) -> None:
        if status.step == 3:
            (tmp_path / "state.pt.part").symlink_to("/dev/full")

    with pytest.raises(RunError, match="cannot be written"):
        finished("1", tmp_path, show=fill)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2


@pytest.mark.parametrize("name", ["1", "2"])
def test_gradients_that_are_no_numbers_move_no_weight(name: str, tmp_path: Path) -> None:
    trainer = trainer_of(TINY["STAGES"][name])
    trainer.advance()
    before = {n: p.detach().clone() for n, p in trainer.learner.named_parameters()}
    terms = trainer.gradients(trainer.take())
    assert all(torch.isfinite(term) for term in terms.values())
    next(p for p in trainer.learner.parameters() if p.grad is not None).grad.view(-1)[0] = torch.nan  # type: ignore[union-attr]
    with pytest.raises(TrainingDivergedError, match="intact"):
        trainer.update(terms)
    trainer.close()
    for key, parameter in trainer.learner.named_parameters():
        assert torch.equal(parameter, before[key]), key
    assert trainer.step == 1


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    trainer = trainer_of(TINY["STAGES"]["1"])

    def poison(status: Status) -> None:
        if status.step == 5:
            trainer.clap.logit_scale.data.fill_(torch.inf)

    with pytest.raises(TrainingDivergedError, match="--base-rate"):
        run(tmp_path, trainer, {}, None, poison, every_epochs=1)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 4
    weights = Checkpoint.load(tmp_path / "last").weights
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
