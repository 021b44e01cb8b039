"""The training jobs of `examples/jobs`: the files are valid, and the commands in them do what they say."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import yaml

import gradwatch

JOBS = pathlib.Path(__file__).parents[1] / "examples" / "jobs"
SLURM = JOBS / "train.sbatch"
WORKFLOW = yaml.safe_load((JOBS / "train.yml").read_text())
STEPS = WORKFLOW["jobs"]["train"]["steps"]


@pytest.fixture
def shell(tmp_path):
    """Runs a script of bash in a directory with a copy of the examples, and with a stand-in for Slurm's `srun`."""
    shutil.copytree(JOBS, tmp_path / "examples" / "jobs")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (
        ("srun", 'exec "$@"\n'),
        ("gradwatch", f'exec "{sys.executable}" -m gradwatch "$@"\n'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("GRADWATCH_", "SLURM_"))}

    def run(command, *, cwd, env):
        path = f"{programs}{os.pathsep}{plain['PATH']}"
        return subprocess.run(command, cwd=cwd, env={**plain, "PATH": path, **env}, capture_output=True, text=True)

    return run


def step(name):
    (found,) = [each for each in STEPS if each.get("name") == name]
    return found


def test_the_batch_file_is_valid_and_can_be_requeued():
    subprocess.run(["bash", "-n", SLURM], check=True)
    lines = SLURM.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    directives = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : 1 + len(directives)] == [f"#SBATCH --{each}" for each in directives]  # Slurm reads no further
    assert {"requeue", "open-mode=append"} <= set(directives)


def test_the_workflow_is_valid_and_keeps_the_report_on_failure():
    assert set(WORKFLOW) == {"name", True, "jobs"}  # YAML reads `on` as true
    upload = STEPS[-1]
    assert upload["uses"].startswith("actions/upload-artifact@")
    assert [each["if"] for each in (step("Report"), upload)] == ["always()"] * 2
    assert "if" not in step("Train")
    assert upload["with"]["path"] == "runs/"
    assert WORKFLOW["jobs"]["train"]["env"] == {"GRADWATCH_RUN_DIR": "runs/train", "GRADWATCH_FAIL_FAST": "1"}
    assert step("Install")["run"] == "pip install '.[demo]'"


def test_the_script_knows_nothing_of_gradwatch():
    assert "import gradwatch" not in (JOBS / "train.py").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "status"), [(["--epochs", "1"], 0), (["--broken"], 3)])
def test_the_batch_file_runs(shell, tmp_path, arguments, status):
    here = tmp_path / "examples" / "jobs"
    env = {"SLURM_JOB_ID": "42", "SLURM_SUBMIT_DIR": str(here)}
    done = shell(["bash", str(here / "train.sbatch"), *arguments], cwd=tmp_path, env=env)
    assert done.returncode == status, done.stderr
    log = gradwatch.load(here / "runs" / "digits-42")
    assert log.num_steps == (57 if status == 0 else 32)
    assert gradwatch.diagnose(log).ok is (status == 0)
    assert ("accuracy" in done.stdout.splitlines()[-1]) is (status == 0)
    report = (here / "runs" / "digits-42.html").read_text(encoding="utf-8")
    assert ("GW205" in report) is (status == 3)
    assert ("Training was stopped at step 31" in done.stderr) is (status == 3)


@pytest.mark.slow
def test_a_job_that_is_killed_goes_on_in_the_same_place(shell, tmp_path):
    here = tmp_path / "examples" / "jobs"
    env = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(here)}
    script = here / "train.py"
    text = script.read_text()
    killing = "keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epoch < 2 or os._exit(9))"
    script.write_text(text.replace("callbacks=callbacks)", f"callbacks=[*callbacks, {killing}])"))
    assert shell(["bash", str(here / "train.sbatch"), "--epochs", "3"], cwd=tmp_path, env=env).returncode == 9
    script.write_text(text)
    done = shell(["bash", str(here / "train.sbatch"), "--epochs", "3"], cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "Epoch 3/3" in done.stdout
    assert "Epoch 1/3" not in done.stdout
    log = gradwatch.load(here / "runs" / "digits-7")  # one log of both, less what was not written yet
    assert len(log.info.resumed_at) == 1
    assert {0, 2} <= set(log.steps()["epoch"])


@pytest.mark.slow
def test_the_commands_of_the_workflow_run(shell, tmp_path):
    env = {**WORKFLOW["jobs"]["train"]["env"], "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}

    def run(name, **more):
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)["run"]]
        return shell(command, cwd=tmp_path, env={**env, **more})

    trained = run("Train", ARGUMENTS="--broken")
    assert trained.returncode == 3, trained.stderr
    reported = run("Report")
    assert reported.returncode == 0, reported.stderr
    assert (tmp_path / "runs" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# Gradient report")
    assert "GW205" in summary
