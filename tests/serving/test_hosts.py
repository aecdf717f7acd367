"""The list of what a host should be like: commands that check, and change nothing."""

import os
import re
import shutil
from pathlib import Path

import pytest

from modelvault.serving.choices import Form, Server
from modelvault.serving.hosts import SETTINGS, list_checks
from tests.support.serving import (
    HOSTED,
    HOSTILE,
    SERVERS,
    call,
    configuration,
    settled,
    usual_model,
)


def host_list(files: dict[str, str]) -> str:
    """Return the text of the list."""
    (text,) = [text for path, text in files.items() if path.endswith("host-checks.md")]
    return text


@pytest.mark.parametrize("form", HOSTED)
@pytest.mark.parametrize("server", SERVERS)
def test_list_has_a_command_for_each_item(server: Server, form: Form) -> None:
    """A box to tick, how it is, how it should be, what changes it; the shell can read each."""
    text = host_list(configuration(server, form))
    checks = list_checks(settled(server, form))
    assert text.count("- [ ] ") == len(checks) > 8
    for check in checks:
        assert f"      check:  {check.command}\n" in text
        assert call("sh", "-n", "-c", check.command).stderr == ""


@pytest.mark.parametrize(
    "word", ["swappiness", "somaxconn", "swaps", "governor", "persistence", "nvidia_uvm", "ecc"]
)
def test_what_operators_tune_is_on_the_list(word: str) -> None:
    """Kernel settings, swap, governor, persistence mode, modules of the GPU, its errors."""
    assert word in host_list(configuration(Server.VLLM, Form.SYSTEMD))


def test_host_without_gpus_is_not_asked_about_any() -> None:
    """``--gpus 0``: no command of the driver."""
    assert "nvidia" not in host_list(configuration(Server.LLAMACPP, Form.SYSTEMD, gpus=0))


def test_commands_run_here_and_say_something(public: Path) -> None:
    """Those whose programs this machine has; a check of a folder tells who may read it."""
    model = usual_model(Server.VLLM, path=str(public))
    ran = 0
    for check in list_checks(settled(Server.VLLM, Form.SYSTEMD, model)):
        words = set(re.findall(r"[a-z_-]+", check.command))
        if words & {"nvidia-smi", "timedatectl", "systemctl", "cpufreq", "numa_balancing"}:
            continue
        if not shutil.which(check.command.split()[0]):
            continue
        done = call("sh", "-c", check.command)
        assert "not found" not in done.stderr, check.command
        ran += 1
        if "may read" in check.subject and os.geteuid() == 0:
            assert done.stdout == "yes\n", done.stderr
    assert ran > 2


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_folder_is_one_word_of_each_command(value: str, tmp_path: Path) -> None:
    """An attack: a folder's name runs nothing when an operator copies the command."""
    target = tmp_path / value / "x"
    target.mkdir(parents=True)
    model = usual_model(Server.VLLM, path=str(target))
    (check,) = [
        check
        for check in list_checks(settled(Server.VLLM, Form.SYSTEMD, model))
        if "local disk" in check.subject
    ]
    command = check.command.replace("findmnt --noheadings --output FSTYPE --target", "printf '%s|'")
    assert call("sh", "-c", command).stdout == f"{target}|"


def test_kernel_settings_are_a_file_that_sysctl_reads() -> None:
    """One a line, as sysctl.d has it, and the list names the same."""
    files = configuration(Server.VLLM, Form.SYSTEMD)
    lines = files["sysctl.d/90-modelvault.conf"].splitlines()
    settings = [line for line in lines if not line.startswith("#")]
    assert settings == [f"{name} = {value}" for name, value in SETTINGS]
    for name, value in SETTINGS:
        assert f"- [ ] {name} is {value}." in host_list(files)
