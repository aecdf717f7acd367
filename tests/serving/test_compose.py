"""Compose files: read by Docker Compose itself, and held to what they promise."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from modelvault.errors import BadOption
from modelvault.serving.choices import Form, Server
from tests.support.serving import (
    HOSTILE,
    SERVERS,
    call,
    main_file,
    program,
    settled,
    usual_model,
)


def service(text: str) -> dict[str, Any]:
    """Return the one service of a compose file."""
    (found,) = yaml.safe_load(text)["services"].values()
    assert isinstance(found, dict)
    return found


def understood(text: str, folder: Path) -> dict[str, Any]:
    """Return the service as Docker Compose reads it: schema checked, variables put in."""
    compose = program("docker-compose", "docker-compose")
    if call(compose, "version", "--short").stdout.startswith("1."):
        # Releases before 2 know neither the key nor that it could be anything but false.
        text = text.replace("        bind:\n          create_host_path: false\n", "")
    (folder / "compose.yaml").write_text(text)
    done = call(compose, "--file", folder / "compose.yaml", "config", cwd=folder)
    assert done.returncode == 0, done.stderr
    return service(done.stdout)


@pytest.mark.parametrize("server", SERVERS)
def test_compose_file_of_each_server_is_understood(server: Server, tmp_path: Path) -> None:
    """Docker Compose checks it against its schema and finds the model, read-only, and the GPUs."""
    text = main_file(server, Form.COMPOSE, gpus=2, memory="64GiB")
    found = understood(text, tmp_path)
    model = usual_model(server)
    (volume,) = found["volumes"]
    assert (volume["type"], volume["source"]) == ("bind", str(model.root))
    assert volume["read_only"] is True
    (device,) = found["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 2, ["gpu"])
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("server", SERVERS)
def test_server_in_a_container_is_told_the_path_that_is_mounted(server: Server) -> None:
    """Not the host's; and it listens to what is published, on this host alone."""
    found = service(main_file(server, Form.COMPOSE))
    (volume,) = found["volumes"]
    assert volume["bind"] == {"create_host_path": False}
    told = [*found["command"], *found["environment"].values()]
    assert volume["target"] in told
    assert str(usual_model(server).path) not in told
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])


def test_shards_and_a_projector_are_mounted_with_their_folder() -> None:
    """What belongs together stands in one folder, and both files are named in it."""
    folder = PurePosixPath("/srv/gguf")
    model = usual_model(
        Server.LLAMACPP,
        root=folder,
        inside=PurePosixPath(),
        projector=folder / "mmproj-Tiny.gguf",
    )
    found = service(main_file(Server.LLAMACPP, Form.COMPOSE, model))
    (volume,) = found["volumes"]
    assert (volume["source"], volume["target"]) == ("/srv/gguf", "/models/model")
    command = found["command"]
    assert command[command.index("--model") + 1] == "/models/model/Tiny.gguf"
    assert command[command.index("--mmproj") + 1] == "/models/model/mmproj-Tiny.gguf"


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_stay_values(value: str, tmp_path: Path) -> None:
    """An attack: the name comes back as it was, and the file has the same shape as any other."""
    model = usual_model(Server.VLLM, name=value, path=f"/srv/{value}/x")
    text = main_file(Server.VLLM, Form.COMPOSE, model)
    found, plain = service(text), service(main_file(Server.VLLM, Form.COMPOSE))
    assert _shape(found) == _shape(plain)
    assert found["volumes"][0]["source"].replace("$$", "$") == f"/srv/{value}/x"
    assert value in [word.replace("$$", "$") for word in found["command"]]


def test_hostile_variables_are_not_put_in(tmp_path: Path) -> None:
    """An attack: Docker Compose itself finds no variable in a name full of them."""
    value = "$HOME ${HOME} ${HOME:-x} $$ $(id) %h {{x}} \"' \\ 한국어"
    model = usual_model(Server.VLLM, name=value, path=f"/srv/{value}/x")
    found = understood(main_file(Server.VLLM, Form.COMPOSE, model), tmp_path)
    # ``config`` prints what can be read again: with its own dollars doubled.
    assert [word.replace("$$", "$") for word in found["command"]].count(value) == 1
    assert found["volumes"][0]["source"].replace("$$", "$") == f"/srv/{value}/x"


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize(
    ("wishes", "image"),
    [
        ({"registry": "reg.example:5000"}, "reg.example:5000/vllm/vllm-openai:v0.32.0"),
        ({"registry": "reg.example/mirror/"}, "reg.example/mirror/vllm/vllm-openai:v0.32.0"),
        ({"image": "reg.example/own/vllm:2026-11"}, "reg.example/own/vllm:2026-11"),
        ({"image": f"own/vllm@sha256:{'0' * 64}"}, f"own/vllm@sha256:{'0' * 64}"),
        ({"image": f"own/vllm:latest@sha256:{'0' * 64}"}, f"own/vllm:latest@sha256:{'0' * 64}"),
    ],
)
def test_image_is_the_sites_and_pinned(wishes: dict[str, Any], image: str) -> None:
    """The usual name and tag below the site's registry, or what the user names."""
    assert settled(Server.VLLM, Form.COMPOSE, **wishes).image == image


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"registry": None}, "where does the image come from"),
        ({"image": "vllm/vllm-openai"}, "not pinned"),
        ({"image": "vllm/vllm-openai:latest"}, "not pinned"),
        ({"image": "reg.example/UPPER/case:1"}, "names no image"),
        ({"image": 'x:1"\n  privileged: true'}, "names no image"),
        ({"image": "x:1", "registry": "reg.example"}, "exclude each other"),
        ({"registry": "https://reg.example"}, "no registry"),
        ({"registry": "reg.example", "gpus": 0}, "without a GPU"),
    ],
)
def test_image_that_is_not_pinned_or_not_one_is_refused(
    wishes: dict[str, Any], reason: str
) -> None:
    """``latest`` is another image tomorrow; a text that is no name gets into no file."""
    with pytest.raises(BadOption, match=reason):
        settled(Server.VLLM, Form.COMPOSE, **{"registry": None, **wishes})


def test_probe_asks_the_port_that_the_server_has() -> None:
    """The health check of each image speaks to the container's own port."""
    for server in (Server.VLLM, Server.SGLANG, Server.LLAMACPP):
        setup = settled(server, Form.COMPOSE)
        assert f":{setup.known.port}/" in json.dumps(setup.known.probe)
