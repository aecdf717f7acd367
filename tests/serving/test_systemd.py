"""Units of systemd: judged by systemd itself."""

import os
import re
import shutil
from pathlib import Path

import pytest

from modelvault.errors import BadOption
from modelvault.serving.choices import Form, Server
from tests.support.serving import (
    HOSTILE,
    SERVERS,
    call,
    configuration,
    main_file,
    program,
    settled,
    usual_model,
    write,
)

EXPOSURE = 3.0
"""Highest level of ``systemd-analyze security`` that a unit may have; 10 is no sandbox."""


@pytest.fixture
def units(public: Path) -> Path:
    """Return a folder that every account may read, with a program that a unit can start."""
    shutil.copy("/bin/true", public / "server")
    (public / "server").chmod(0o755)
    return public


def analyse(*arguments: str | Path) -> str:
    """Return all that ``systemd-analyze`` says; it must succeed."""
    done = call(program("systemd-analyze", "systemd"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def loaded(unit: Path) -> str:
    """Return how systemd reads a unit, setting by setting, as ``systemd --test`` prints it."""
    systemd = program("systemd", "systemd", "/lib/systemd", "/usr/lib/systemd")
    home = unit.parent / "home"
    home.mkdir(exist_ok=True)
    home.chmod(0o777)
    # It refuses to be tried by root.
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = call(
        *(nobody if os.geteuid() == 0 else ()),
        *(systemd, "--test", "--system", f"--unit={unit.name}"),
        env={
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "SYSTEMD_LOG_TARGET": "console",
            "SYSTEMD_UNIT_PATH": f"{unit.parent}:",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        },
    )
    assert done.returncode == 0, done.stderr
    found = re.search(
        rf"^\t-> Unit {re.escape(unit.name)}:\n((?:\t\t.*\n)+)", done.stdout, re.MULTILINE
    )
    assert found is not None, done.stdout[:4000]
    return found[1]


def values(dump: str, key: str) -> list[str]:
    """Return the values of a setting in a dump."""
    return re.findall(rf"^\t+{re.escape(key)}: (.*)$", dump, re.MULTILINE)


@pytest.mark.parametrize("gpus", [0, 1, 4])
@pytest.mark.parametrize("server", SERVERS)
def test_unit_of_each_server_is_verified_and_shut(server: Server, gpus: int, units: Path) -> None:
    """Nothing is found by systemd, which grades the sandbox as a tight one."""
    files = configuration(
        server, Form.SYSTEMD, program=str(units / "server"), gpus=gpus, memory="64GiB"
    )
    unit = write({path: text for path, text in files.items() if path.endswith(".service")}, units)
    assert analyse("verify", unit) == ""
    level = re.search(
        r"exposure level for \S+: ([0-9.]+)", analyse("security", "--offline=true", unit)
    )
    assert level is not None
    assert float(level[1]) <= EXPOSURE


def test_sandbox_is_read_as_it_is_meant(units: Path) -> None:
    """Not the text but what systemd makes of it: read-only model, own cache, limits, no root."""
    files = configuration(Server.VLLM, Form.SYSTEMD, program=str(units / "server"))
    dump = loaded(write(files, units))
    assert values(dump, "ReadOnlyPaths") == ["/srv/models/acme/Tiny-1B"]
    assert values(dump, "ProtectSystem") == ["strict"]
    assert values(dump, "PrivateTmp") == ["yes"]
    assert values(dump, "DynamicUser") == ["yes"]
    assert values(dump, "CapabilityBoundingSet") == [""]
    assert values(dump, "LimitNOFILE") == ["65536"]
    assert values(dump, "LimitMEMLOCK") == ["18446744073709551615"]
    assert values(dump, "Restart") == ["on-failure"]
    assert values(dump, "CacheDirectory") == ["vllm-acme-tiny-1b"]
    assert values(dump, "DeviceAllow") == ["char-rtc r", "char-nvidia* rw"]
    assert set(values(dump, "Environment")) >= {
        "HF_HUB_OFFLINE=1",
        "TRANSFORMERS_OFFLINE=1",
        "VLLM_NO_USAGE_STATS=1",
        "OMP_NUM_THREADS=8",
        "CUDA_VISIBLE_DEVICES=0",
    }


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_name_and_folder_stay_one_value(value: str, units: Path) -> None:
    """An attack: whatever a name says, systemd reads it as that name, and no setting is added."""
    plain = main_file(Server.VLLM, Form.SYSTEMD)
    path = f"/srv/models/{value}/x"
    model = usual_model(Server.VLLM, name=value, path=path)
    text = main_file(Server.VLLM, Form.SYSTEMD, model, program=str(units / "server"))
    assert len(text.splitlines()) == len(plain.splitlines())
    unit = write({"hostile.service": text}, units)
    assert analyse("verify", unit) == ""
    dump = loaded(unit)
    assert values(dump, "ReadOnlyPaths") == [path]
    assert values(dump, "Description") == [f"vLLM serves {value}".strip()]
    (command,) = values(dump, "Command Line")
    shown = re.search(r" --served-model-name (.*) --host ", command)
    assert shown is not None
    assert _unquoted(shown[1]).replace("$$", "$") == value


def _unquoted(shown: str) -> str:
    """Undo how systemd shows a word that needs quotes."""
    if not shown.startswith('"'):
        return shown
    return re.sub(r"\\(.)", r"\1", shown[1:-1])


def test_backoff_is_for_newer_systemd_and_the_unit_does_without(units: Path) -> None:
    """Where systemd is older it names the two settings that it does not know, and goes on."""
    files = configuration(Server.OLLAMA, Form.SYSTEMD, program=str(units / "server"))
    said = analyse("verify", write(files, units))
    found = re.search(r"systemd (\d+)", analyse("--version"))
    assert found is not None
    if int(found[1]) >= 254:
        assert said == ""
    else:
        assert set(re.findall(r"Unknown key '(\w+)'", said)) <= {
            "RestartSteps",
            "RestartMaxDelaySec",
        }


def test_service_account_and_network_are_those_asked_for() -> None:
    """``--user`` takes the place of an account of its own; ``--clients`` are let in."""
    text = main_file(
        Server.VLLM,
        Form.SYSTEMD,
        user="vllm",
        listen="10.0.0.5:8000",
        clients=("10.0.0.0/8", "fd00::/8"),
    )
    assert "\nUser=vllm\n" in text
    assert "DynamicUser" not in text
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\nIPAddressAllow=10.0.0.0/8\n" in text
    assert "IPAddressAllow=fd00::/8\n" in text


def test_server_open_to_others_needs_to_know_whom() -> None:
    """0.0.0.0 without a word on who may ask is refused: a proxy belongs before it."""
    with pytest.raises(BadOption, match="open to others"):
        settled(Server.VLLM, Form.SYSTEMD, listen="0.0.0.0:8000")


@pytest.mark.parametrize("home", ["/home/ai/models", "/root/models", "/run/user/1000/m"])
def test_model_in_a_home_can_be_read(home: str) -> None:
    """Homes are taken away from a service, unless its model lies there."""
    inside = main_file(Server.VLLM, Form.SYSTEMD, usual_model(Server.VLLM, path=home))
    assert "ProtectHome=read-only" in inside
    beside = usual_model(Server.VLLM, path="/homework/models")
    assert "ProtectHome=yes" in main_file(Server.VLLM, Form.SYSTEMD, beside)


def test_server_without_a_gpu_gets_no_device() -> None:
    """Neither devices nor options of a GPU are named."""
    text = main_file(Server.LLAMACPP, Form.SYSTEMD, gpus=0)
    assert "PrivateDevices=yes" in text
    assert "nvidia" not in text
    assert "CUDA" not in text
    assert "--n-gpu-layers 0" in text
