"""Manifests for Kubernetes: held to its own schemas, oldest and newest that are at hand."""

import functools
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelvault.errors import BadOption
from modelvault.serving.choices import Form, Server
from tests.support.serving import HOSTILE, SERVERS, main_file, settled, usual_model

RELEASES = (kubernetes_validate.utils.all_versions()[0], kubernetes_validate.utils.latest_version())


def manifests(text: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a file by their kind."""
    return {found["kind"]: found for found in yaml.safe_load_all(text)}


def container(text: str) -> dict[str, Any]:
    """Return the one container of the deployment."""
    (found,) = manifests(text)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def volumes(text: str) -> dict[str, dict[str, Any]]:
    """Return the deployment's volumes by name."""
    pod = manifests(text)["Deployment"]["spec"]["template"]["spec"]
    return {volume["name"]: volume for volume in pod["volumes"]}


@functools.cache
def plain() -> str:
    """Return a file without anything unusual."""
    return main_file(Server.VLLM, Form.KUBERNETES)


@pytest.mark.parametrize("wishes", [{}, {"claim": "models", "clients": ("10.0.0.0/8",)}])
@pytest.mark.parametrize("server", SERVERS)
def test_every_object_fits_the_schemas_strictly(server: Server, wishes: dict[str, Any]) -> None:
    """No key is unknown to any release, and none is missing."""
    found = manifests(main_file(server, Form.KUBERNETES, gpus=2, **wishes))
    assert found.keys() == {"ServiceAccount", "Deployment", "Service", "NetworkPolicy"}
    for manifest in found.values():
        for release in RELEASES:
            kubernetes_validate.validate(manifest, release, strict=True)


def test_schema_refuses_what_is_not_kubernetes() -> None:
    """The check can fail: a key that is spelled wrongly is told."""
    deployment = manifests(plain())["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readyProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, RELEASES[1], strict=True)


@pytest.mark.parametrize("server", SERVERS)
def test_pod_is_as_restricted_as_the_strictest_level(server: Server) -> None:
    """Pod Security "restricted": no root, no capabilities, no escalation, a read-only system."""
    text = main_file(server, Form.KUBERNETES, claim="models")
    pod = manifests(text)["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container(text)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not [key for key in pod if key.startswith("host")]
    allowed = {"persistentVolumeClaim", "emptyDir"}
    assert {key for volume in volumes(text).values() for key in volume} - {"name"} <= allowed


def test_model_is_the_nodes_own_or_a_claims_and_never_written() -> None:
    """A folder of the node, or a path in a volume claim; read-only in either case."""
    (mount,) = [item for item in container(plain())["volumeMounts"] if item["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/models/model", "readOnly": True}
    node = volumes(plain())["models"]["hostPath"]
    assert node == {"path": "/srv/models/acme/Tiny-1B", "type": "Directory"}
    claimed = main_file(Server.LLAMACPP, Form.KUBERNETES, claim="weights")
    (mount,) = [item for item in container(claimed)["volumeMounts"] if item["name"] == "models"]
    assert mount["subPath"] == "Tiny.gguf"
    assert mount["mountPath"] == "/models/model.gguf"
    claim = volumes(claimed)["models"]["persistentVolumeClaim"]
    assert claim == {"claimName": "weights", "readOnly": True}
    file = volumes(main_file(Server.LLAMACPP, Form.KUBERNETES))["models"]["hostPath"]
    assert file == {"path": "/srv/gguf/Tiny.gguf", "type": "File"}


def test_probes_give_time_to_load_and_limits_hold_the_weights() -> None:
    """Half an hour to start; memory for the weights and 16 GiB; as many GPUs as asked for."""
    found = container(main_file(Server.VLLM, Form.KUBERNETES, gpus=4))
    startup = found["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] == 1800
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert found[name]["httpGet"] == {"path": "/health", "port": "http"}
    assert found["resources"]["limits"] == {
        "memory": 2_000_000_000 + 16 * 1024**3,
        "nvidia.com/gpu": 4,
    }
    limited = container(main_file(Server.VLLM, Form.KUBERNETES, memory="32GiB"))
    assert limited["resources"]["limits"]["memory"] == 32 * 1024**3


def test_server_calls_nobody() -> None:
    """The policy lets in who may ask, and nothing out, not even for names."""
    policy = manifests(main_file(Server.VLLM, Form.KUBERNETES, clients=("10.1.0.0/16",)))
    spec = policy["NetworkPolicy"]["spec"]
    assert spec["egress"] == []
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert {"ipBlock": {"cidr": "10.1.0.0/16"}} in spec["ingress"][0]["from"]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_stay_values(value: str) -> None:
    """An attack: the name is one argument, no variable is begun, the shape is the usual one."""
    model = usual_model(Server.VLLM, name=value, path=f"/srv/{value}/x", reference=value)
    text = main_file(Server.VLLM, Form.KUBERNETES, model)
    found, usual = container(text), container(plain())
    assert found.keys() == usual.keys()
    assert len(found["args"]) == len(usual["args"])
    assert [word.replace("$$", "$") for word in found["args"]].count(value) == 1
    assert "$(" not in "".join(found["args"]).replace("$$", "")
    assert volumes(text)["models"]["hostPath"]["path"] == f"/srv/{value}/x"
    assert manifests(text)["Deployment"]["metadata"]["annotations"]["modelvault/reference"] == value
    kubernetes_validate.validate(manifests(text)["Deployment"], RELEASES[1], strict=True)


@pytest.mark.parametrize(
    "wishes", [{"namespace": "Models"}, {"namespace": "a/b"}, {"claim": "a\nb"}, {"claim": ""}]
)
def test_name_that_kubernetes_refuses_is_refused_here(wishes: dict[str, Any]) -> None:
    """Names are lower-case letters, digits and ``-``."""
    with pytest.raises(BadOption):
        settled(Server.VLLM, Form.KUBERNETES, **wishes)
