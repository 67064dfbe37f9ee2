from __future__ import annotations

import csv
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from yolo_core import plugins
from yolo_core.mxnet import weights
from yolo_core.mxnet.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.mxnet.network import trainable
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.qat import ConvolutionGrid
from yolo_train.cli import main
from yolo_train.learner import Learner
from yolo_train.options import FitOptions
from yolo_train.run_folder import RunFolder
from yolo_train.start import random_parameters, read_weights

FIT = ("--imgsz", "64", "--batch-size", "8", "--nominal-batch", "16", "--workers", "1")


def fit(shapes: Path, project: Path, *words: str) -> Any:
    """Train in this process; returns click's result."""
    command = ["fit", "--data", str(shapes), "--project", str(project), *FIT, *words]
    return CliRunner().invoke(main, command)


def start(shapes: Path, project: Path, *words: str, start_new_session: bool = False) -> Any:
    """Train in a process of its own, which a test can kill."""
    command = [sys.executable, "-c", "from yolo_train.cli import main; main()", "fit"]
    return subprocess.Popen(
        [*command, "--data", str(shapes), *FIT, "--project", str(project), *words],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=start_new_session,
    )  # fmt: skip


def epochs_done(run: Path) -> Any:
    """Epochs in the state file; 0 while there is none."""
    path = run / "weights" / "last.state.npz"
    if not path.exists():
        return 0
    with np.load(path, allow_pickle=False) as state:
        return int(state["epochs"])


@pytest.fixture(scope="module")
def uninterrupted(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("runs")
    result = fit(shapes, project, "--epochs", "3")
    assert result.exit_code == 0, result.output
    return project / "exp"


def test_a_finished_run_says_so_and_can_be_extended_from_any_folder(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shapes.parent)
    assert fit(Path(shapes.name), tmp_path, "--epochs", "1", "--no-plots").exit_code == 0
    monkeypatch.chdir(tmp_path)
    resume = ["fit", "--resume", "exp/weights/last"]
    done = CliRunner().invoke(main, resume)
    assert done.exit_code == 0
    assert "is finished: 1 epochs of 1" in done.output
    assert "--epochs 2" in done.output
    refused = CliRunner().invoke(main, [*resume, "--epochs", "1", "--imgsz", "64"])
    assert refused.exit_code == 2
    more = CliRunner().invoke(main, [*resume, "--epochs", "2"])
    assert more.exit_code == 0, more.output
    assert epochs_done(tmp_path / "exp") == 2
    assert "epoch 1:" in more.output
    less = CliRunner().invoke(main, ["fit", "--resume", "exp", "--epochs", "1"])
    assert less.exit_code == 2
    assert "more than 2" in less.output


def test_a_run_leaves_the_files_that_yolov5_users_expect(uninterrupted: Path) -> None:
    expected = (
        "opt.yaml hyp.yaml results.csv results.png labels.jpg PR_curve.png F1_curve.png "
        "P_curve.png R_curve.png confusion_matrix.png train_batch0.jpg val_batch0_labels.jpg "
        "val_batch0_pred.jpg weights/best.yaml weights/last.yaml weights/best-0000.params "
        "weights/best-symbol.json weights/last-0000.params weights/last-symbol.json"
    )
    for name in expected.split():
        assert (uninterrupted / name).stat().st_size > 0, name
    rows = list(csv.DictReader((uninterrupted / "results.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[2]["train/box_loss"]) > 0
    assert "metrics/mAP_0.5:0.95" in rows[0]
    options = yaml.safe_load((uninterrupted / "opt.yaml").read_text())
    assert (options["imgsz"], options["epochs"], options["nominal_batch"]) == (64, 3, 16)


def test_the_checkpoint_is_a_trainable_one_of_the_dataset(uninterrupted: Path) -> None:
    checkpoint = read_checkpoint(uninterrupted / "weights" / "last")
    assert not checkpoint.fused
    assert checkpoint.architecture.names == ("circle", "square", "triangle", "star")
    assert checkpoint.meta["imgsz"] == 64


@pytest.mark.parametrize("moment", ["in the first epoch", "between epochs", "in a later epoch"])
def test_a_killed_run_resumes_to_the_same_bits(
    shapes: Path, tmp_path: Path, uninterrupted: Path, moment: str
) -> None:
    process = start(shapes, tmp_path, "--epochs", "3")
    run = tmp_path / "exp"
    wanted = 0 if moment == "in the first epoch" else 1
    deadline = time.monotonic() + 180
    while not (run / "weights" / "last.state.npz").exists() or epochs_done(run) < wanted:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if moment == "in a later epoch":
        time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    # The pipes close when the workers have noticed and are gone too.
    process.communicate(timeout=20)
    assert epochs_done(run) < 3
    result = CliRunner().invoke(main, ["fit", "--resume", str(run)])
    assert result.exit_code == 0, result.output
    for name in ("last-0000.params", "best-0000.params"):
        ours, theirs = (folder / "weights" / name for folder in (run, uninterrupted))
        assert ours.read_bytes() == theirs.read_bytes(), name
    assert (run / "results.csv").read_text() == (uninterrupted / "results.csv").read_text()


def test_any_number_of_data_workers_gives_the_same_weights(
    shapes: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    for workers in ("0", "3"):
        result = fit(
            shapes, tmp_path, "--epochs", "3", "--workers", workers, "--name", workers, "--no-plots"
        )
        assert result.exit_code == 0, result.output
        ours, theirs = (
            folder / "weights" / "last-0000.params"
            for folder in (tmp_path / workers, uninterrupted)
        )
        assert ours.read_bytes() == theirs.read_bytes()


def _resumes_to(run: Path, uninterrupted: Path) -> None:
    result = CliRunner().invoke(main, ["fit", "--resume", str(run)])
    assert result.exit_code == 0, result.output
    ours, theirs = (folder / "weights" / "last-0000.params" for folder in (run, uninterrupted))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_full_disk_leaves_the_epoch_before_to_resume_from(
    shapes: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    add_row = RunFolder.add_row

    def fill(folder: RunFolder, row: Any) -> None:
        add_row(folder, row)
        if row["epoch"] == 1:  # no file may be longer now, as if the disk ended there
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))

    monkeypatch.setattr(RunFolder, "add_row", fill)
    try:
        result = fit(shapes, tmp_path, "--epochs", "3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    monkeypatch.undo()
    assert result.exit_code == 2
    assert "last-0000.params: cannot be written (File too large)" in result.output
    assert "Traceback" not in result.output
    assert epochs_done(tmp_path / "exp") == 1
    _resumes_to(tmp_path / "exp", uninterrupted)


def _loaders(trainer: int) -> list[int]:
    """Process ids of the data workers of a trainer."""
    children = Path(f"/proc/{trainer}/task/{trainer}/children").read_text().split()
    return [int(pid) for pid in children
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find workers")
def test_a_killed_data_worker_is_told_and_the_run_resumes_to_the_same_bits(
    shapes: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    process = start(shapes, tmp_path, "--epochs", "3")
    deadline = time.monotonic() + 180
    while not epochs_done(tmp_path / "exp"):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for pid in _loaders(process.pid):
        os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    told = [line for line in said.decode().splitlines() if line.startswith("Error")]
    assert told == ["Error: --workers: a data worker died; expected enough memory for it"]
    assert "Traceback" not in said.decode()
    _resumes_to(tmp_path / "exp", uninterrupted)


def test_a_batch_that_does_not_fit_into_the_memory_is_told(shapes: Path, tmp_path: Path) -> None:
    def less_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    words = ("fit", "--data", str(shapes), "--project", str(tmp_path), "--imgsz", "384",
             "--batch-size", "64", "--workers", "0", "--epochs", "1", "--cache", "0")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "yolo_train", *words],
        preexec_fn=less_memory, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "Error: a batch of 64 images of 384 pixels: there is too little memory" in done.stderr
    assert "--batch-size" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_that_diverges_keeps_the_epoch_before(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, calls = Learner.learn, [0]

    def diverge(learner: Learner, *words: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:  # an epoch has three batches
            for parameter in trainable(learner.net).values():
                parameter.data()[:] = np.nan
        return learn(learner, *words)

    monkeypatch.setattr(Learner, "learn", diverge)
    result = fit(shapes, tmp_path, "--epochs", "2", "--no-plots")
    assert result.exit_code == 2
    assert "epoch 1 batch 0: the loss is not a finite number" in result.output
    assert f"{tmp_path / 'exp' / 'weights' / 'last'} is that of epoch 0" in result.output
    assert epochs_done(tmp_path / "exp") == 1
    weights = read_checkpoint(tmp_path / "exp" / "weights" / "last").parameters
    assert all(np.isfinite(value).all() for value in weights.values())


def test_ctrl_c_ends_the_trainer_and_its_workers_say_nothing(shapes: Path, tmp_path: Path) -> None:
    process = start(shapes, tmp_path, "--epochs", "500", start_new_session=True)
    deadline = time.monotonic() + 180
    while not epochs_done(tmp_path / "exp"):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # As a terminal does: to every process of the group. Python loses an interrupt that comes while
    # it cleans up an object of MXNet; a person presses again.
    while process.poll() is None and time.monotonic() < deadline:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(5)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    # A bar that is still open when the process ends repeats its last state.
    told = [line for line in said.decode().splitlines() if not re.search(r"\[[#-]", line)]
    resumed = f"yolo-train fit --resume {tmp_path / 'exp'}"
    assert told[-1] == f"Interrupted. To go on from here: {resumed}"
    assert "multiprocessing" not in said.decode()


def test_resume_refuses_other_options_other_data_and_nothing(
    shapes: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    for words, said in (
        (["--resume", str(uninterrupted), "--imgsz", "64"], "--resume takes no other options"),
        (["--resume", str(tmp_path)], "no run to resume"),
        (["--resume", "--project", str(tmp_path)], "no run to resume"),
    ):
        result = CliRunner().invoke(main, ["fit", *words])
        assert result.exit_code == 2
        assert said in result.output


def test_a_damaged_state_is_one_line(tmp_path: Path, uninterrupted: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (tmp_path / "opt.yaml").write_bytes((uninterrupted / "opt.yaml").read_bytes())
    (tmp_path / "hyp.yaml").write_bytes((uninterrupted / "hyp.yaml").read_bytes())
    whole = (uninterrupted / "weights" / "last.state.npz").read_bytes()
    for bad in (whole[: len(whole) // 2], b"PK\x03\x04 no", b""):
        (weights / "last.state.npz").write_bytes(bad)
        result = CliRunner().invoke(main, ["fit", "--resume", str(tmp_path)])
        assert result.exit_code == 2, result.output
        assert "last.state.npz: is damaged" in result.output


def test_a_loss_without_bounds_stops_the_run_and_leaves_no_checkpoint(
    shapes: Path, tmp_path: Path
) -> None:
    architecture = Architecture.named("n", nc=4)
    parameters = random_parameters(architecture, seed=0)
    parameters["model.24.m.0.bias"][:] = 3e38
    write_checkpoint(tmp_path / "huge", Checkpoint(architecture, parameters, fused=False))
    result = fit(shapes, tmp_path, "--weights", str(tmp_path / "huge"), "--no-plots")
    assert result.exit_code == 2
    assert "epoch 0 batch 0: the loss is not a finite number" in result.output
    assert not list(tmp_path.glob("exp/weights/*.params"))


def test_transfer_to_other_classes_keeps_what_fits_and_says_what_it_skips(
    shapes: Path, tmp_path: Path
) -> None:
    architecture = Architecture.named("n", nc=7)
    parameters = random_parameters(architecture, seed=5)
    write_checkpoint(tmp_path / "seven", Checkpoint(architecture, parameters, fused=False))
    result = fit(
        shapes, tmp_path, "--weights", str(tmp_path / "seven"), "--epochs", "1", "--freeze", "24",
        "--no-plots",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = "of the detection head boxes and objectness, new classes are circle, square"
    assert said in result.output, result.output
    trained = read_checkpoint(tmp_path / "exp" / "weights" / "last").parameters
    np.testing.assert_array_equal(trained["model.3.conv.weight"], parameters["model.3.conv.weight"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--imgsz", "0"], "imgsz"),
        (["--qat"], "--weights"),
        (["--amp"], "--amp"),
        (["--weights", "yolov5n.pt"], "yolo-port convert"),
        (["--model", "yolov9"], "yolov9"),
        (["--device", "gpu:0"], "gpu:0"),
        (["--device", "cpu:0,cpu:1", "--batch-size", "7"], "multiple of 2"),
        (["--epochs", "0"], "--epochs"),
        (["--optimizer", "magic"], "magic"),
        (["--hyp", "nowhere.yaml"], "nowhere.yaml"),
        (["--weights", "nowhere"], "nowhere"),
        (["-o", "lr0=-1"], "lr0"),
        (["--rect", "--image-weights"], "--rect"),
        (["--name", "a/b"], "--name"),
        (["--cache", "lots"], "lots"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_options_are_one_line_exit_code_2_and_no_checkpoint(
    shapes: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    result = fit(shapes, tmp_path, "--epochs", "1", "--no-plots", *words)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("*/weights/best*"))


def test_a_fused_checkpoint_is_refused_before_the_data_is_looked_at(
    shapes: Path, tmp_path: Path
) -> None:
    architecture = Architecture.named("n", nc=4)
    parameters = fuse(random_parameters(architecture, seed=0), architecture)
    write_checkpoint(tmp_path / "fused", Checkpoint(architecture, parameters, fused=True))
    result = fit(shapes, tmp_path, "--weights", str(tmp_path / "fused"))
    assert result.exit_code == 2
    assert "has its batch normalisation folded" in result.output
    assert len(result.output.splitlines()) == 1


def test_options_in_yolov5s_words(shapes: Path, tmp_path: Path) -> None:
    words = ("--img", "64", "--batch", "8", "--epochs", "1", "--noplots", "--noautoanchor",
             "--nominal-batch", "16", "--workers", "1", "--single-cls", "--save-period", "1",
             "--exist-ok", "--data", str(shapes), "--project", str(tmp_path))  # fmt: skip
    first = CliRunner().invoke(main, ["fit", *words])
    assert first.exit_code == 0, first.output
    run = tmp_path / "exp"
    assert read_checkpoint(run / "weights" / "epoch0").architecture.names == ("item",)
    (run / "notes.txt").write_text("mine")
    (run / "results.png").write_bytes(b"mine too")
    again = CliRunner().invoke(main, ["fit", *words, "--save-period", "0"])
    assert again.exit_code == 0, again.output
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["exp"]
    assert not (run / "weights" / "epoch0.yaml").exists()
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "results.png").read_bytes() == b"mine too"


def test_exist_ok_leaves_a_folder_alone_that_holds_no_run(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "notes.txt").write_text("mine")
    refused = fit(shapes, tmp_path, "--epochs", "1", "--exist-ok")
    assert refused.exit_code == 2
    assert "folder without a run" in refused.output
    assert [path.name for path in (tmp_path / "exp").iterdir()] == ["notes.txt"]


def test_weights_of_another_framework_are_read_by_the_package_that_knows_them(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stock.pt"
    file.write_bytes(b"")
    architecture = Architecture.named("n", nc=4)
    found = Checkpoint(architecture, random_parameters(architecture, seed=1), fused=False)
    monkeypatch.setattr(weights, "_reader", lambda path: lambda path: found)
    assert read_weights(FitOptions(data="x", weights=str(file))) is not None
    monkeypatch.undo()
    monkeypatch.setattr(plugins, "metadata", SimpleNamespace(entry_points=dict))
    result = fit(shapes, tmp_path, "--epochs", "1", "--weights", str(file))
    assert result.exit_code == 2
    assert "pip install yolo-port" in result.output


def test_a_bare_number_is_a_gpu(shapes: Path, tmp_path: Path) -> None:
    refused = fit(shapes, tmp_path, "--epochs", "1", "--device", "0,1")
    assert refused.exit_code == 2
    assert "'gpu:0'; expected cpu, since MXNet sees no GPU" in refused.output


def test_every_other_way_to_train_runs(shapes: Path, tmp_path: Path) -> None:
    result = fit(
        shapes, tmp_path, "--epochs", "2", "--multi-scale", "--image-weights", "--cos-lr",
        "--optimizer", "adam", "--cache", "100K", "--no-autoanchor", "--patience", "1",
        "-o", "lr0=0.001", "-o", "mixup=0.5", "-o", "degrees=10", "-o", "perspective=0.0005",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert read_checkpoint(tmp_path / "exp" / "weights" / "best").meta["imgsz"] == 64


def test_training_stops_when_nothing_gets_better(shapes: Path, tmp_path: Path) -> None:
    words = ("--epochs", "9", "--patience", "1", "--no-plots", "-o", "lr0=1e-9",
             "-o", "warmup_bias_lr=0")  # fmt: skip
    result = fit(shapes, tmp_path, *words)
    assert result.exit_code == 0, result.output
    assert "No better for 1 epochs: stopped." in result.output
    run = tmp_path / "exp"
    rows = (run / "results.csv").read_text()
    assert len(rows.splitlines()) < 10
    # Killed after its last state, and while a file was half written, it is as finished as before.
    (run / "weights" / ".last.state.npz.abcdefgh.yolo-part").write_bytes(b"PK")
    result = CliRunner().invoke(main, ["fit", "--resume", str(run)])
    assert result.exit_code == 0, result.output
    assert (run / "results.csv").read_text() == rows
    assert not list((run / "weights").glob(".*"))


def test_a_dataset_without_labels_stops_at_once_and_says_where_it_looked(
    shapes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        for image in sorted((shapes.parent / "images" / split).iterdir())[:8]:
            (folder / "images" / split / image.name).write_bytes(image.read_bytes())
    (folder / "data.yaml").write_bytes(shapes.read_bytes())
    result = fit(folder / "data.yaml", tmp_path, "--epochs", "1", "--strict")
    assert result.exit_code == 2
    assert f"expected files such as {folder / 'labels/train/000000.txt'}" in result.output


def eighths(architecture: Architecture) -> Any:
    """A grid of eighths for weights and activations."""
    one = ConvolutionGrid(np.full((1, 1, 1, 1), 0.125), 127, *(
        np.full((1, 1, 1, 1), value) for value in (0.125, -1.0, 15.0)
    ))  # fmt: skip
    return dict.fromkeys((conv.name for conv in architecture.convolutions()), one)


def test_qat_finetunes_on_the_grid_of_a_quantizer_found_by_entry_point(
    shapes: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = str(uninterrupted / "weights" / "best")
    words = ("--weights", best, "--qat", "--epochs", "1", "--no-plots")
    result = fit(shapes, tmp_path, "--qat", "--epochs", "1")
    assert result.exit_code == 2
    assert "has no --weights" in result.output

    calibrated = []

    def maker(architecture: Architecture, parameters: Any, images: Any) -> Any:
        assert set(parameters) == set(architecture.parameter_shapes(fused=True))
        calibrated.append(images)
        return eighths(architecture)

    monkeypatch.setattr("yolo_train.start.grid_maker", lambda: maker)
    result = fit(shapes, tmp_path, *words)
    assert result.exit_code == 0, result.output
    assert calibrated[0].shape == (24, 64, 64, 3)
    checkpoint = read_checkpoint(tmp_path / "exp" / "weights" / "last")
    assert checkpoint.fused
    before = fuse(read_checkpoint(best).parameters, checkpoint.architecture)
    moved = [name for name, value in checkpoint.parameters.items() if (value != before[name]).any()]
    assert len(moved) > len(before) / 2
