"""What is shipped for machines, checked without a Docker engine, a cluster or a GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "runner"
DOCKERFILES = [ROOT / "Dockerfile", RUNNER / "Dockerfile"]
SCRIPTS = sorted((RUNNER / "hooks").glob("*.sh"))
BIN = Path(sys.executable).parent
PINNED = re.compile(r":[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}$")
SECRET = re.compile(r"(?i)token|secret|password|api_?key|private")


@dataclass(frozen=True, slots=True)
class Instruction:
    word: str
    rest: str


def instructions(path: Path) -> list[Instruction]:
    """The instructions of a Dockerfile, comments left out, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(words[0].upper(), words[1]) for words in found]


def broken_rules(path: Path) -> list[str]:
    """The rules that a Dockerfile breaks; the base has to be one that stays what it is."""
    found = instructions(path)
    broken = []
    for step in found:
        if step.word == "FROM" and not re.search(
            r":[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}$", step.rest
        ):
            broken.append(f"not pinned: {step.rest}")
        if step.word == "ADD":
            broken.append(f"ADD: {step.rest}")
        if step.word in ("ENV", "ARG") and SECRET.search(step.rest):
            broken.append(f"a secret in a layer: {step.rest}")
        if step.word == "RUN":
            broken += broken_in_run(step.rest)
    users = [step.rest for step in found if step.word == "USER"]
    if not users or users[-1].split(":")[0] in ("0", "root"):
        broken.append("runs as root")
    words = [step.word for step in found]
    if "USER" in words and "RUN" in words[words.index("USER") :]:
        broken.append("builds after USER: root's files would be the user's")
    ours = [i for i, step in enumerate(found) if step.word == "COPY" and "lora_ci /" in step.rest]
    lists = [i for i, step in enumerate(found) if step.word == "RUN" and "apt-get" in step.rest]
    if ours and lists and min(ours) < max(lists):
        broken.append("our code comes before what changes less")
    return broken


def broken_in_run(text: str) -> list[str]:
    broken = []
    if "apt-get install" in text:
        if "rm -rf /var/lib/apt/lists" not in text:
            broken.append("lists of apt are left in the layer")
        if "--no-install-recommends" not in text:
            broken.append("apt installs what nobody asked for")
    if re.search(r"\b(curl|wget)\b.*https?:", text) and "sha256sum --check" not in text:
        broken.append("a download that nobody checks")
    if "pip install" in text and not ("--constraint" in text or "--no-deps" in text):
        broken.append("pip takes any version")
    if re.search(r"\bsudo\b|chmod (-R )?777|:latest\b", text):
        broken.append(f"sudo, 777 or latest: {text}")
    return broken


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_dockerfiles_keep_the_rules(path: Path):
    assert broken_rules(path) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"@sha256:\w+", "", "not pinned"),
        (r"cuda:13\.0\.1-base-ubuntu24\.04@", "cuda:latest@", "not pinned"),
        (r"USER 10001:10001", "USER root", "runs as root"),
        (r" && rm -rf /var/lib/apt/lists/\*", "", "lists of apt"),
        (r"\| sha256sum --check --strict -", "", "nobody checks"),
        (r"COPY pyproject", "ADD https://example.org/x /x\nCOPY pyproject", "ADD"),
        (r"ENV DVC", "ENV GITHUB_TOKEN=x DVC", "a secret"),
        (r"--constraint \S+", "", "any version"),
        (r"USER 10001:10001", "USER 10001:10001\nRUN true", "builds after USER"),
    ],
)
def test_the_rules_notice(tmp_path: Path, old: str, new: str, words: str):
    text = (RUNNER / "Dockerfile").read_text()
    changed = re.sub(old, new.replace("\\", r"\\"), text)
    assert changed != text
    (tmp_path / "Dockerfile").write_text(changed)
    assert any(words in rule for rule in broken_rules(tmp_path / "Dockerfile"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_hadolint_finds_nothing(path: Path):
    program = BIN / "hadolint"
    if not program.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_copied_is_there_and_not_ignored(path: Path):
    kept = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for step in instructions(path):
        if step.word == "COPY":
            for source in step.rest.split()[:-1]:
                assert list(ROOT.glob(source)), source
                assert any(source == k or source.startswith(k + "/") for k in kept), source


def test_a_wrong_digest_ends_the_build():
    """The line that checks the runner's archive, as it stands in the Dockerfile."""
    (run,) = (s.rest for s in instructions(RUNNER / "Dockerfile") if "sha256sum" in s.rest)
    check = re.search(r"\{ echo \"\$\{RUNNER_SHA256\}.*?exit 1; \}; \}", run)
    assert check
    script = f'archive=$(basename "$0"); {check[0].replace("/tmp/", "$PWD/")} && echo built'
    archive = RUNNER / "compose.yml"
    right = subprocess.check_output(["sha256sum", archive], text=True).split()[0]
    for digest, code in ((right, 0), ("0" * 64, 1), ("", 1)):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script, str(archive)],
            cwd=RUNNER,
            env={"PATH": "/usr/bin:/bin", "RUNNER_SHA256": digest, "RUNNER_VERSION": "1.2.3"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert ("built" in done.stdout) == (code == 0)
        assert ("belong to RUNNER_VERSION 1.2.3" in done.stderr) == (code == 1)


def test_the_health_of_the_bot(tmp_path: Path):
    """The program of HEALTHCHECK, as it stands in the Dockerfile, on a server and on none."""
    (check,) = (s.rest for s in instructions(ROOT / "Dockerfile") if s.word == "HEALTHCHECK")
    words = yaml.safe_load(check.partition(" CMD ")[2])
    program = words[-1]
    assert words[:3] == ["python", "-I", "-c"]
    asked: list[str] = []

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if len(asked) == 1 else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        codes = [health(tmp_path, program, "serve", server.server_port) for _ in range(2)]
        codes.append(health(tmp_path, program, "run", server.server_port))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    codes.append(health(tmp_path, program, "serve", server.server_port))
    assert codes == [0, 1, 0, 1]
    assert asked == ["/healthz", "/healthz"]


def health(folder: Path, program: str, command: str, port: int) -> int:
    """The exit code where process 1 is `lora-ci <command>`."""
    first = folder / "cmdline"
    first.write_bytes(f"python\0/usr/local/bin/lora-ci\0{command}\0".encode())
    there = program.replace("/proc/1/cmdline", str(first)).replace(":8080", f":{port}")
    done = subprocess.run([sys.executable, "-I", "-c", there], capture_output=True, check=False)
    return done.returncode


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts(path: Path):
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)
    program = BIN / "shellcheck"
    if program.exists():
        done = subprocess.run([program, path], capture_output=True, text=True, check=False)
        assert done.stdout == ""


def test_compose_is_one_service_a_gpu_that_cannot_be_written_to():
    checking = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*checking, RUNNER / "compose.yml"], check=True, capture_output=True)
    compose = yaml.safe_load((RUNNER / "compose.yml").read_text())
    devices, places = [], []
    for service in compose["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["restart"] == "always"
        assert "environment" not in service  # secrets come from the file
        assert "privileged" not in service
        assert not [v for v in service["volumes"] if "docker.sock" in v]
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        devices += device["device_ids"]
        places.append(service["volumes"][0])
    assert len(set(devices)) == len(set(places)) == len(compose["services"])


def test_the_unit(tmp_path: Path):
    text = (RUNNER / "lora-ci-runner@.service").read_text()
    keys = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert keys["User"] == "lora-ci-runner"
    assert keys["KillMode"] == "mixed"
    assert "CUDA_VISIBLE_DEVICES=%i" in text
    assert not re.search(r"^Environment=.*(TOKEN|SECRET)", text, re.MULTILINE)
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "lora-ci-runner@0.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_grace_ends_before_the_supervisors_does():
    entrypoint = (RUNNER / "entrypoint.py").read_text()
    grace_s = float(re.search(r"^GRACE_S = ([\d.]+)", entrypoint, re.MULTILINE)[1])
    compose = yaml.safe_load((RUNNER / "compose.yml").read_text())
    waits = [int(s["stop_grace_period"].removesuffix("s")) for s in compose["services"].values()]
    unit = (RUNNER / "lora-ci-runner@.service").read_text()
    waits.append(int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]))
    arc = yaml.safe_load((RUNNER / "arc-values.yaml").read_text())
    waits.append(arc["template"]["spec"]["terminationGracePeriodSeconds"])
    assert grace_s + 15 < min(waits)


def test_values_for_actions_runner_controller():
    values = yaml.safe_load((RUNNER / "arc-values.yaml").read_text())
    # Source: actions-runner-controller, charts/gha-runner-scale-set/values.yaml.
    assert values.keys() <= {
        "githubConfigUrl", "githubConfigSecret", "runnerScaleSetName", "runnerGroup",
        "scaleSetLabels", "minRunners", "maxRunners", "template",
    }  # fmt: skip
    assert isinstance(values["githubConfigSecret"], str)  # a name, never the secret
    spec = values["template"]["spec"]
    (container,) = spec["containers"]
    assert container["name"] == "runner"
    assert "@sha256:" in container["image"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["securityContext"]["runAsNonRoot"]
    assert {v["name"] for v in spec["volumes"]} == {m["name"] for m in container["volumeMounts"]}
    (entry,) = (s.rest for s in instructions(RUNNER / "Dockerfile") if s.word == "ENTRYPOINT")
    assert container["command"] == yaml.safe_load(entry)
