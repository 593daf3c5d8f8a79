"""The commands a team and its consumers type."""

import json
import stat
import subprocess
import sys

import pytest

from lora_ci.cli.main import main
from lora_ci.signing.signers import FILE_NAME, read_signers, render_signers
from tests.builders import RepoBuilder
from tests.releases import Team, files_of


def lora_ci(capsys, *args: object) -> tuple[int, dict]:
    code = main([*map(str, args), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def repo(tmp_path):
    return RepoBuilder(tmp_path)


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    team = Team(tmp_path_factory.mktemp("team"))
    team.release("1.0.0")
    (team.root / FILE_NAME).write_bytes(render_signers(team.signers))
    return team


def test_new_keys_are_added_to_the_trust_file(repo, tmp_path, capsys):
    new_key = ("deploy", "new-key", "--repo", repo.root)
    for name in ("one", "two"):
        code, said = lora_ci(capsys, *new_key, "--key", tmp_path / name, "--name", name)
        assert code == 0
        signers = read_signers(repo.root / FILE_NAME).signers
        assert (signers[-1].name, signers[-1].id) == (name, said["key_id"])
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert len(signers) == 2
    code, _ = lora_ci(capsys, *new_key, "--key", tmp_path / "one", "--name", "again")
    assert code == 2
    assert len(read_signers(repo.root / FILE_NAME).signers) == 2


def test_a_new_key_says_what_to_commit_and_warns_of_the_repository(repo, capsys):
    key = repo.root / "key.pem"
    assert (
        main(["deploy", "new-key", "--repo", str(repo.root), "--key", str(key), "--name", "x"]) == 0
    )
    said = capsys.readouterr()
    assert f"git add {FILE_NAME}" in said.out
    assert "LORA_CI_SIGNING_KEY" in said.out
    assert "lies in the repository" in said.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["mei@v1.0.0"], "no git tag mei@v1.0.0"),
        (["mei"], "no release tag"),
        (["mei@v1.0.0", "--key", "x"], "belong to"),
        (["new-key"], "a file and a name"),
        (["new-key", "--key", "x"], "a file and a name"),
    ],
)
def test_what_cannot_be_deployed_is_a_usage_error(repo, capsys, args, words):
    repo.commit()
    # A branch of that name is no tag: it moves.
    repo.git("branch", "mei@v1.0.0")
    assert main(["deploy", *args, "--repo", str(repo.root)]) == 2
    assert words in capsys.readouterr().err


def test_deploy_is_the_run_of_the_tag(repo, capsys):
    repo.write("models/sd/model_index.json", "{}")
    repo.write("datasets/mei/a.txt", "mei")
    repo.write(
        ".lora-ci.yml",
        "version: 1\nloras:\n  mei: {dataset: datasets/mei, base_model: models/sd}\n",
    )
    head = repo.commit()
    repo.git("tag", "mei@v1.0.0")
    repo.commit("later")
    code, view = lora_ci(capsys, "deploy", "mei@v1.0.0", "--repo", repo.root)
    assert (view["event"]["kind"], view["event"]["tag"]) == ("tag", "mei@v1.0.0")
    assert view["event"]["head"] == head
    # There is no base model to train on, so nothing is released.
    assert (code, view["outcome"]) == (1, "failed")
    assert view["steps"][-1]["decision"]["stage"] == "deploy"


def test_verify_tells_who_and_refuses_with_the_file(team, capsys, tmp_path):
    folder, signers = team.released("1.0.0"), team.root / FILE_NAME
    code, said = lora_ci(capsys, "verify", folder, "--signers", signers)
    assert (code, said["signer"], said["release"]["version"]) == (0, "team", "1.0.0")
    assert len(said["files"]) == 5
    for name, data in files_of(folder).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "README.md").write_text("other")
    code, said = lora_ci(capsys, "verify", tmp_path, "--signers", signers)
    assert (code, said["error"]) == (1, "lora-ci.integrity")
    assert said["findings"][0]["message"].startswith("README.md: changed")
    code, said = lora_ci(capsys, "verify", folder, "--signers", tmp_path / "nowhere.json")
    assert code == 2
    assert "nobody's signature is trusted" in said["findings"][0]["message"]


def test_pull_places_a_file_and_says_where(team, capsys, tmp_path):
    options = ("--store", team.place, "--signers", team.root / FILE_NAME, "--to", tmp_path)
    code, said = lora_ci(capsys, "pull", "mei#latest", *options, "--for", "comfyui")
    assert code == 0
    assert said["files"] == [str(tmp_path / "models/loras/mei.safetensors")]
    assert (said["version"], said["changed"]) == ("1.0.0", True)
    assert main(["pull", "mei@v1.0.0", *map(str, options)]) == 0
    assert "mei 1.0.0: pulled, signed by team" in capsys.readouterr().out
    code, said = lora_ci(capsys, "pull", "mei@v2.0.0", *options)
    assert code == 1
    assert main(["pull", "mei", "--store", str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("command", ["verify", "pull"])
def test_consumers_need_no_torch(team, tmp_path, command):
    args = {
        "verify": [str(team.released("1.0.0"))],
        "pull": ["mei", "--store", str(team.place), "--to", str(tmp_path)],
    }[command]
    code = (
        "import sys; from lora_ci.cli.main import main\n"
        f"assert main({[command, *args]}) == 0\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=team.root, capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & {"torch", "numpy", "safetensors", "sqlalchemy", "PIL", "jinja2"}
