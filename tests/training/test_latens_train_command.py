"""`latens-train`: one settings object, commands that load what they need, results for programs."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from latens_training import checkpoint
from latens_training.cli.article import FIGURES, Figure
from latens_training.cli.commands import COMMANDS, find
from latens_training.cli.compare import CompareSettings
from latens_training.cli.main import main
from latens_training.cli.parser import parse
from latens_training.cli.settings import SECTION_FIELDS, TrainSettings, flattened, sectioned
from latens_training.config import RunConfig
from latens_training.effects import without_effect
from latens_training.presets import PRESETS


def printed_config(capsys: pytest.CaptureFixture[str], *arguments: str) -> RunConfig:
    assert main([*arguments, "--print-config"]) == 0
    return RunConfig.model_validate(tomllib.loads(capsys.readouterr().out))


def test_every_field_of_a_run_is_a_flag_with_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in (name for names in SECTION_FIELDS.values() for name in names):
        assert f"--{name.replace('_', '-')} " in text
        assert TrainSettings.model_fields[name].description, name
    for command in COMMANDS:
        assert f"  {command} " in text


def test_help_needs_neither_torch_nor_matplotlib() -> None:
    program = (
        "import sys\n"
        "from latens_training.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'torchvision', 'matplotlib'} & set(sys.modules)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_the_name_of_a_field_is_unique_over_the_sections() -> None:
    names = [name for names in SECTION_FIELDS.values() for name in names]
    assert len(names) == len(set(names))
    assert RunConfig.model_validate(sectioned(flattened(RunConfig()))) == RunConfig()


def test_a_flag_beats_the_environment_beats_the_preset_beats_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENS_TRAIN_BETA", "2")
    monkeypatch.setenv("LATENS_TRAIN_HIDDEN", "30,20")
    config = printed_config(capsys, "--preset", "burda-vae", "--beta", "3")
    assert config.loss.beta == 3
    assert config.model.hidden == (30, 20)
    assert config.model.latent_size == 50
    assert config.train.learning_rate == 1e-3


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_is_a_valid_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed_config(capsys, "--preset", name)
    values = flattened(config)
    for field, value in PRESETS[name].values.items():
        for one, expected in value.items() if isinstance(value, dict) else [(field, value)]:
            assert values[one] == expected


def test_an_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--betta", "4"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --betta" in capsys.readouterr().err


def test_a_command_may_have_two_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "presets all", COMMANDS["presets"])
    assert find(["presets", "all", "--json"]) == ("presets all", ["--json"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_and_refuses_unknown_variables(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert "usage: latens-train" in capsys.readouterr().out
    monkeypatch.setenv("LATENS_TRAIN_BETTA", "4")
    assert main(command.split()) == 2
    assert "LATENS_TRAIN_BETTA" in capsys.readouterr().err


def test_a_run_writes_json_to_stdout_and_text_to_stderr(
    mnist_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    flags = ["--data-dir", str(mnist_subset), "--hidden", "32", "--epochs", "2", "--tensorboard"]
    assert main([*flags, "--json", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    *epochs, result = [json.loads(line) for line in captured.out.splitlines()]
    history = (out / "history.jsonl").read_text()
    assert epochs == [json.loads(line) for line in history.splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert epochs[1]["test_elbo"] == -epochs[1]["test_reconstruction"] - epochs[1]["test_kl"]
    assert result["metrics"] == checkpoint.load(out).metrics
    assert captured.err.startswith("epoch 1/2  test elbo -")
    assert "\r" not in captured.err, "a progress bar is for terminals"
    assert list((out / "tensorboard").glob("events.*"))
    assert (out / "figures" / "manifold.png").stat().st_size > 0


def test_evaluate_reports_the_whole_test_set(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--bound-samples", "50", "--bound-images", "20", "--json"]
    assert main(["evaluate", str(trained_run), *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    metrics = result["metrics"]
    assert result["images"] == 1000
    assert metrics["kl"] == pytest.approx(sum(result["kl_by_dim"]), rel=1e-5)
    assert metrics["elbo"] == pytest.approx(-metrics["reconstruction"] - metrics["kl"])
    assert metrics["iwae_bound"] > metrics["elbo"]
    assert metrics["active_units"] == 2
    stored = checkpoint.load(trained_run).metrics
    assert metrics["elbo"] == pytest.approx(stored["elbo"], rel=1e-6)


def test_evaluate_prints_a_table(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained_run), "--bound-samples", "0"]) == 0
    text = capsys.readouterr().out
    assert "1,000 test images, nats per image" in text
    assert "KL by latent coordinate" in text
    assert "iwae_bound" not in text


def test_figures_draws_a_run_again(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figures", str(trained_run), "--out", str(tmp_path / "pictures")]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert tmp_path / "pictures" / "loss.png" in paths
    assert all(path.stat().st_size for path in paths)


def test_bfloat16_has_a_warning_on_a_processor_without_it(
    mnist_subset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ["--data-dir", str(mnist_subset), "--hidden", "16", "--epochs", "1", "--no-figures"]
    warning = "precision: this processor has no bfloat16 arithmetic"
    for has_it in (False, True):
        capabilities = {"architecture": "x86_64", "avx512_bf16": has_it, "amx_bf16": False}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=capabilities: known)
        out = tmp_path / str(has_it)
        assert main([*flags, "--precision", "bfloat16", "--device", "cpu", "--out", str(out)]) == 0
        assert (warning in capsys.readouterr().err) is not has_it


def test_the_help_says_that_fewer_threads_can_be_faster(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "On a machine with other work --threads 1 can be twice as fast" in text


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("tensorboard", ["--tensorboard"], "tensorboard"),
        ("fontTools", ["data", "fonts"], "fonts"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    module: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"
        "from latens_training.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    out = tmp_path / "out.npz"
    finished = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.splitlines()[-1].endswith(f"pip install 'latens-training[{extra}]'")
    assert "Traceback" not in finished.stderr


def test_presets_are_listed_with_what_they_reproduce(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    text = capsys.readouterr().out
    assert "burda-vae          Burda et al. 2015, table 1: VAE, k = 1, 86.76 nats" in text
    assert "--hidden 200,200 --activation tanh" in text
    assert main(["presets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == PRESETS.keys()


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.file)
def test_every_command_that_makes_a_figure_of_the_article_is_one(figure: Figure) -> None:
    for command in figure.commands:
        program, *words = shlex.split(command)
        if program != "latens-train":
            assert shutil.which(program, path=str(Path(sys.executable).parent))
            continue
        name, arguments = find(words)
        settings = parse(COMMANDS[name].settings_for(arguments), arguments, program)
        if isinstance(settings, CompareSettings):
            assert len(settings.study().members()) >= 2
            assert figure.file.startswith(str(settings.study().directory))
        elif isinstance(settings, TrainSettings):
            config = settings.run_config()
            assert without_effect(config) == {}
            assert figure.file.startswith((str(settings.run_directory(config)), "filled"))


def test_the_figures_of_the_article_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["article"]) == 0
    text = capsys.readouterr().out
    assert "    latens-train compare --preset article-2d --betas 0,1,4\n" in text
    assert "    -> runs/compare-mnist/comparison.png\n" in text


@pytest.mark.parametrize("verb", ["evaluate", "figures"])
def test_a_run_that_does_not_exist_is_not_found(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, str(tmp_path / "none")]) == 3
    assert "no run here" in capsys.readouterr().err
