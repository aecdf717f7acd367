"""What Prometheus is told: read and tried by promtool."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelvault.serving.choices import Form, Server
from tests.support.serving import HOSTED, HOSTILE, call, configuration, program, usual_model, write

MEASURED = (Server.VLLM, Server.SGLANG, Server.LLAMACPP)
"""Servers that have figures; Ollama has none."""


def promtool(*arguments: str | Path) -> str:
    """Return what promtool says; it must succeed."""
    done = call(program("promtool", "prometheus"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def part(files: dict[str, str], ending: str) -> dict[str, str]:
    """Return the file whose path ends so, alone."""
    return {Path(path).name: text for path, text in files.items() if path.endswith(ending)}


@pytest.mark.parametrize("form", HOSTED)
@pytest.mark.parametrize("server", MEASURED)
def test_rules_and_scrape_configuration_are_understood(
    server: Server, form: Form, tmp_path: Path
) -> None:
    """By the program that comes with Prometheus; every rule is told to somebody, and what to do."""
    files = configuration(server, form)
    rules = write(part(files, ".rules.yml"), tmp_path)
    assert "SUCCESS" in promtool("check", "rules", rules)
    assert "SUCCESS" in promtool("check", "config", write(part(files, ".scrape.yml"), tmp_path))
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    assert group["rules"][0]["alert"] == "ModelServerDown"
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.parametrize("form", HOSTED)
def test_ollama_has_nothing_to_scrape(form: Form) -> None:
    """No file is written that would scrape what is not there."""
    assert not [path for path in configuration(Server.OLLAMA, form) if "prometheus" in path]


def test_scrape_configuration_names_the_server() -> None:
    """The host's own address, or the cluster's name of the service."""
    listening = configuration(
        Server.VLLM, Form.SYSTEMD, listen="0.0.0.0:8001", clients=("10.0.0.0/8",)
    )
    for files, target in (
        (listening, "127.0.0.1:8001"),
        (configuration(Server.VLLM, Form.KUBERNETES), "vllm-acme-tiny-1b.models.svc:8000"),
    ):
        (text,) = part(files, ".scrape.yml").values()
        (job,) = yaml.safe_load(text)["scrape_configs"]
        assert job["static_configs"][0]["targets"] == [target]


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """A server that is down, and one whose queue grows, in promtool's own trial of the rules."""
    files = configuration(Server.VLLM, Form.SYSTEMD)
    rules = write(part(files, ".rules.yml"), tmp_path)
    job = "vllm-acme-tiny-1b"
    series = {f'up{{job="{job}"}}': "1x5 0x20"}
    series[f'vllm:num_requests_waiting{{job="{job}"}}'] = "40x30"
    expected = [
        ("4m", "ModelServerDown", None),
        ("10m", "ModelServerDown", {"severity": "critical", "job": job}),
        ("15m", "ModelServerQueueGrows", {"severity": "warning", "job": job}),
        ("15m", "ModelServerCacheFull", None),
    ]
    try_rules(rules, series, [_expect(rules, *item) for item in expected])


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_name_is_shown_and_not_carried_out(value: str, tmp_path: Path) -> None:
    """An attack: an annotation is a template; a name full of them is printed as it is."""
    files = configuration(Server.VLLM, Form.SYSTEMD, usual_model(Server.VLLM, name=value))
    (scrape,) = part(files, ".scrape.yml").values()
    (job,) = yaml.safe_load(scrape)["scrape_configs"]
    assert job["static_configs"][0]["labels"]["model"] == value
    rules = write(part(files, ".rules.yml"), tmp_path)
    labels = {"severity": "critical", "job": job["job_name"]}
    expected = _expect(rules, "5m", "ModelServerDown", labels)
    expected["exp_alerts"][0]["exp_annotations"]["summary"] = f"{value} does not answer"
    try_rules(rules, {f'up{{job="{job["job_name"]}"}}': "0x20"}, [expected])


def try_rules(rules: Path, series: dict[str, str], expected: list[dict[str, Any]]) -> None:
    """Let promtool try rules on made-up series; what fires must be what is expected."""
    trial = {
        "rule_files": [rules.name],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "alert_rule_test": expected,
            }
        ],
    }
    path = rules.with_name("trial.yml")
    path.write_text(yaml.safe_dump(trial, allow_unicode=True))
    promtool("test", "rules", path)


def _expect(rules: Path, time: str, name: str, labels: dict[str, str] | None) -> dict[str, Any]:
    """Return what is expected of one rule at one time: to fire with labels, or to be silent."""
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    (rule,) = [rule for rule in group["rules"] if rule["alert"] == name]
    fires = [{"exp_labels": labels, "exp_annotations": rule["annotations"]}]
    return {"eval_time": time, "alertname": name, "exp_alerts": [] if labels is None else fires}
