"""Defaults of one's own: flags, recipe, environment, configuration, built in, in this order; and shell completion."""

import subprocess

import pytest

from dift_edit.cli import COMMANDS, build_parser, main
from dift_edit.errors import DiftEditError
from dift_edit.job.defaults import config_path, user_defaults
from dift_edit.job.recipe import Job, load_job, save_job
from dift_edit.settings import TransferSettings


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes the configuration of a home of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WORKERS", "MIN_CONFIDENCE", "MODEL"):
        monkeypatch.delenv(f"DIFT_EDIT_{name}", raising=False)

    def write(text):
        config_path().parent.mkdir(parents=True, exist_ok=True)
        config_path().write_text(text)

    return write


def job_of(tmp_path, *flags):
    """The job that a command line describes, as its recipe says."""
    recipe = tmp_path / "saved.toml"
    arguments = ["propagate", "a.png", "b.png", "--sticker", "s.png", "-o", "out", "--save-job", str(recipe), *flags]
    assert main(arguments) == 0
    return load_job(recipe)


def test_nothing_is_set_without_a_file(config, tmp_path):
    assert user_defaults({}) == {}
    assert job_of(tmp_path).transfer == TransferSettings()


def test_the_order_of_precedence(config, tmp_path, monkeypatch):
    config("[transfer]\nmin_confidence = 0.6\nseed = 5\n[batch]\nworkers = 2\n[model]\nname = 'lite'\n")
    job = job_of(tmp_path)
    assert (job.transfer.min_confidence, job.transfer.seed, job.batch.workers, job.model) == (0.6, 5, 2, "lite")
    monkeypatch.setenv("DIFT_EDIT_MIN_CONFIDENCE", "0.7")
    monkeypatch.setenv("DIFT_EDIT_INSTANCES", "all")
    job = job_of(tmp_path)
    assert (job.transfer.min_confidence, job.transfer.seed, job.transfer.instances) == (0.7, 5, "all")
    recipe = tmp_path / "job.toml"
    recipe.write_text(
        'source = "a"\noutput = "o"\n[edit]\nsticker = "s"\n[transfer]\nmin_confidence = 0.8\n[model]\ndevice = "cpu"\n'
    )
    job = load_job(recipe, user_defaults())
    assert (job.transfer.min_confidence, job.transfer.seed, job.model) == (0.8, 5, "lite")
    assert load_job(recipe).transfer.seed == 0, "a recipe alone has the built-in defaults"
    assert job_of(tmp_path, "--min-confidence", "0.9").transfer.min_confidence == 0.9


def test_a_saved_recipe_holds_against_the_configuration(config, tmp_path):
    config("[transfer]\nmin_confidence = 0.6\n")
    given = Job(source="a", sticker="s", output="o", transfer=TransferSettings(min_confidence=0.3))
    save_job(given, tmp_path / "job.toml")
    assert load_job(tmp_path / "job.toml", user_defaults()).transfer.min_confidence == 0.3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[transfer\n", "is not valid TOML"),
        (
            "a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
            "is not valid TOML",
        ),
        ("[colours]\n", "colours"),
        ("[transfer]\nspeed = 3\n", "speed"),
        ("[transfer]\nmin_confidence = 7\n", "use a number from 0 to 1"),
        (f"[transfer]\nseed = {2**63}\n", "use a whole number from 0 to"),
        ("[batch]\nworkers = 'many'\n", "workers in \\[batch\\] must be of the kind int"),
        ("[model]\nname = 3\n", "name"),
        ("transfer = 3\n", "transfer"),
        ("[transfer]\nengine = 'magic'\n", "use one of auto"),
    ],
)
def test_a_wrong_file_gives_a_sentence(config, capsys, text, words):
    config(text)
    with pytest.raises(DiftEditError, match=words):
        user_defaults({})
    for command in (["config"], ["propagate", "a.png", "b.png", "--sticker", "s.png", "-o", "out"]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "config.toml" in said and said.count("\n") == 1 and "Traceback" not in said


def test_a_file_that_is_not_text_gives_a_sentence(config):
    config("")
    config_path().write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DiftEditError, match="is not valid TOML"):
        user_defaults({})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKERS", "many", "use a value of the kind int"),
        ("WORKERS", "0", "use 1 or more"),
        ("REPORT", "perhaps", "use true or false"),
        ("ENGINE", "magic", "use one of auto"),
        ("INSTANCES", "some", "use a value of the kind int"),
    ],
)
def test_a_wrong_variable_is_named(config, name, value, words):
    with pytest.raises(DiftEditError, match=f"variable DIFT_EDIT_{name} cannot be used: .*{words}"):
        user_defaults({f"DIFT_EDIT_{name}": value})


def test_config_says_what_holds_and_who_set_it(config, capsys, monkeypatch):
    config("[transfer]\nseed = 5\n")
    monkeypatch.setenv("DIFT_EDIT_WORKERS", "3")
    monkeypatch.setenv("DIFT_EDIT_WROKERS", "3")
    assert main(["config"]) == 0
    said = capsys.readouterr().out
    assert f"seed = 5  # {config_path()}\n" in said and "workers = 3  # environment DIFT_EDIT_WORKERS\n" in said
    assert "min_confidence = 0.3\n" in said and "DIFT_EDIT_WROKERS is set, but is no default" in said
    config(said)  # what it prints is a configuration
    assert user_defaults({})["workers"].value == 3
    assert main(["config", "--path"]) == 0
    assert capsys.readouterr().out.strip() == str(config_path())


def test_the_page_of_commands_does_not_depend_on_the_configuration(config):
    config("[transfer]\nseed = 5\n")
    parser = build_parser()
    args = parser.parse_args(["propagate", "a", "b", "--sticker", "s", "-o", "o"])
    assert args.seed == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_every_command(capsys, shell):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS) and "min-confidence" in script


def test_bash_completes_commands_and_flags(tmp_path, capsys):
    pytest.importorskip("shtab")
    main(["completion", "bash"])
    (tmp_path / "c.bash").write_text(capsys.readouterr().out)
    ask = (
        f"source {tmp_path}/c.bash; COMP_WORDS=(dift-edit {{}}); COMP_CWORD={{}}; "
        "$(complete -p dift-edit | sed -E 's/.*-F ([^ ]+).*/\\1/'); printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )

    def replies(words, index):
        line = ask.format(words, index)
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split()

    assert "propagate" in replies("prop", 1)
    assert "--min-confidence" in replies("propagate --min", 2)
