"""The deploy step: a tag becomes a release once, signed, and a channel names it."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from huggingface_hub import ModelCard
from model_signing.verifying import Config

from lora_ci.core.errors import IntegrityError
from lora_ci.core.settings import DeploySettings
from lora_ci.core.step import Outcome, StepInput
from lora_ci.deploy.channels import open_pointer
from lora_ci.deploy.verify import verify_release
from lora_ci.signing.keys import make_key, public_pem
from lora_ci.steps.main import exec_step
from tests.releases import TODAY, Team, files_of


@pytest.fixture
def team(tmp_path):
    return Team(tmp_path)


def pointer(team, channel="latest", today=TODAY):
    data = team.store.read_channel("mei", channel)
    return open_pointer(data, "mei", channel, team.signers, today)


def failure(result):
    assert result.outcome is Outcome.FAILED, result.details
    return f"{result.findings[0].message} | {result.findings[0].hint}"


def error(result):
    assert result.outcome is Outcome.ERROR, result
    return f"{result.findings[0].message} | {result.findings[0].hint}"


def test_a_release_is_whole_signed_and_named_by_its_channel(team):
    result = team.release("1.0.0")
    assert result.outcome is Outcome.PASSED, result
    folder = team.released("1.0.0")
    names = {"mei.safetensors", "mei-kohya.safetensors", "release.json", "README.md", "model.sig"}
    assert set(files_of(folder)) == names
    verified = verify_release(folder, team.signers, TODAY)
    assert verified.release.recommended_weight == 0.8
    assert dict(verified.release.qa.metrics) == {"identity": 0.75}
    details = result.details
    assert {f["name"] for f in details["files"]} == names
    assert all(f["size"] == (folder / f["name"]).stat().st_size for f in details["files"])
    latest = {"name": "latest", "version": "1.0.0", "sequence": 1}
    assert details["targets"] == [{"name": "store", "channels": [latest]}]
    assert (details["version"], details["key_id"]) == ("1.0.0", team.signers.signers[0].id)
    assert result.metrics["files"] == 5
    assert result.metrics["size_bytes"] == sum(len(d) for d in files_of(folder).values())
    for artifact in result.artifacts:
        kept = team.objects.get(artifact.sha256).read_bytes()
        assert kept == (folder / artifact.name).read_bytes()
    assert {a.name for a in result.artifacts} == {"release.json", "model.sig", "README.md"}
    assert (pointer(team).version, pointer(team).release) == ("1.0.0", verified.digest)


def test_other_tools_verify_a_release_too(team):
    team.release("1.0.0")
    public = team.root / "key.pub"
    public.write_text(public_pem(team.key.public_key()))
    verifier = Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(team.released("1.0.0"), team.released("1.0.0") / "model.sig")


def test_twice_is_the_same(team):
    first = team.release("1.0.0")
    before = files_of(team.place)
    again = team.release("1.0.0", commit="d" * 40)
    assert again.outcome is Outcome.PASSED
    assert files_of(team.place) == before
    assert again.details == first.details


def test_a_released_version_is_never_another_adapter(team):
    team.release("1.0.0")
    before = files_of(team.place)
    said = failure(team.release("1.0.0", seed=1))
    assert "released already, with another adapter" in said
    assert "mei@v1.1.0" in said
    assert files_of(team.place) == before


@pytest.mark.parametrize(
    ("wanted", "seed", "changed", "proposed"),
    [
        ("1.1.9", 1, {}, "1.3.0"),
        ("1.2.1", 1, {}, "1.3.0"),
        ("1.2.0-rc.1", 0, {}, "1.2.1"),
        ("1.3.0", 1, {"trigger": "mia"}, "2.0.0"),
        ("1.3.0", 1, {"base_model": {"path": "models/sd", "content_id": "base-2"}}, "2.0.0"),
    ],
)
def test_the_version_that_it_should_be_is_told(team, wanted, seed, changed, proposed):
    team.release("1.2.0")
    assert f"git tag mei@v{proposed}" in failure(team.release(wanted, seed=seed, **changed))
    assert team.release(proposed, seed=seed, **changed).outcome is Outcome.PASSED
    assert (pointer(team).version, pointer(team).sequence) == (proposed, 2)


def test_a_repackaged_adapter_is_a_patch_and_a_moved_base_is_no_other(team):
    team.release("1.2.0")
    moved = {"path": "elsewhere", "content_id": "base-1"}
    assert team.release("1.2.1", base_model=moved).outcome is Outcome.PASSED


def test_what_is_missing_is_told_with_the_next_command(team):
    none = DeploySettings()
    assert "deploy.targets" in failure(team.release("1.0.0", settings=none, targets=[]))
    said = error(team.release("1.0.0", signing_key=None))
    assert "next: lora-ci deploy new-key, and set LORA_CI_SIGNING_KEY" in said
    said = error(team.release("1.0.0", signing_key=str(team.root / "nowhere.pem")))
    assert "nowhere.pem" in said
    bad = DeploySettings(targets=("store",), channels=("latest", "../../evil"))
    assert "no name of a LoRA or channel" in failure(team.release("1.0.0", settings=bad))
    assert "no version" in failure(team.release("01.0.0"))
    assert not team.place.exists()


def test_an_adapter_that_is_none_is_not_released(team):
    spec = team.spec("1.0.0")
    (team.root / "junk").write_bytes(b"PK\x03\x04 a pickle")
    sha256 = team.objects.put(team.root / "junk")
    junk = {"adapter": StepInput(content_id=sha256, sha256=sha256)}
    folder = team.folder(replace(spec, inputs={**spec.inputs, **junk}))
    assert "pickle" in failure(exec_step(folder, team.objects, team.root / "cache"))
    assert not team.place.exists()


def test_a_store_that_someone_changed_stops_a_release_and_can_be_put_right(team):
    team.release("1.0.0")
    card = team.released("1.0.0") / "README.md"
    good = card.read_bytes()
    card.unlink()
    card.write_bytes(good + b"!")
    assert "README.md: changed" in error(team.release("1.0.0"))
    card.write_bytes(good)
    assert team.release("1.0.0").outcome is Outcome.PASSED
    (team.place / "channels" / "mei" / "latest.json").write_bytes(b"{}")
    assert "channel mei#latest" in error(team.release("1.1.0", seed=1))


def test_a_foreign_release_in_the_store_is_not_pointed_at(team):
    team.release("1.0.0")
    make_key(team.root / "other.pem")
    said = error(team.release("1.0.0", signing_key=str(team.root / "other.pem")))
    assert team.signers.signers[0].id in said
    assert "needs a new version" in said


def test_a_new_key_goes_on_counting(team):
    team.release("1.0.0")
    make_key(team.root / "other.pem")
    team.release("1.1.0", seed=1, signing_key=str(team.root / "other.pem"))
    with pytest.raises(IntegrityError, match="does not trust"):
        pointer(team)
    team.release("1.2.0", seed=2)
    assert pointer(team).sequence == 3


def test_a_channel_never_goes_back(team):
    team.release("1.0.0")
    team.release("1.1.0", seed=1)
    result = team.release("1.0.0")
    assert result.outcome is Outcome.PASSED
    assert result.findings[0].rule == "deploy.channel-ahead"
    assert pointer(team).version == "1.1.0"


class Stores:
    """Three targets with two channels each; `release` gives the step's result."""

    def __init__(self, team) -> None:
        self.team = team
        self.places = [team.root / name for name in ("store", "mirror", "archive")]
        self.settings = DeploySettings(
            targets=tuple(p.name for p in self.places), channels=("latest", "stable")
        )

    def release(self, version: str, seed: int = 0):
        targets = [str(place) for place in self.places]
        return self.team.release(version, seed, settings=self.settings, targets=targets)

    def releases(self) -> list[dict[str, bytes]]:
        return [files_of(place / "releases" / "mei") for place in self.places]


def test_every_target_gets_the_same_signed_bytes_and_every_channel(team):
    stores = Stores(team)
    result = stores.release("1.0.0")
    assert result.outcome is Outcome.PASSED, result
    first, *others = stores.releases()
    assert len([name for name in first if name.startswith("1.0.0/")]) == 5
    assert others == [first, first]
    told = {t["name"]: [c["name"] for c in t["channels"]] for t in result.details["targets"]}
    assert told == {key: ["latest", "stable"] for key in ("store", "mirror", "archive")}
    before = [files_of(place) for place in stores.places]
    assert stores.release("1.0.0").details == result.details
    assert [files_of(place) for place in stores.places] == before


def test_a_target_that_is_new_gets_what_the_others_have(team):
    team.release("1.0.0")
    stores = Stores(team)
    stores.places.reverse()
    assert stores.release("1.0.0").outcome is Outcome.PASSED
    first, *others = stores.releases()
    assert others == [first, first]


def test_a_target_that_fails_is_named_and_the_others_have_the_release(team):
    stores = Stores(team)
    stores.places[1].write_text("a file where the store should be")
    said = error(stores.release("1.0.0"))
    assert "deploy target mirror: " in said
    assert "(released to store, archive)" in said
    assert stores.releases()[0] == stores.releases()[2] != {}
    stores.places[1].unlink()
    result = stores.release("1.0.0")
    assert result.outcome is Outcome.PASSED
    assert [t["channels"][0]["sequence"] for t in result.details["targets"]] == [1, 1, 1]
    assert stores.releases()[1] == stores.releases()[0]


def test_a_version_that_one_target_refuses_is_released_to_none(team):
    team.release("1.0.0", seed=1)
    stores = Stores(team)
    assert "another adapter" in failure(stores.release("1.0.0"))
    assert not stores.places[1].exists()
    assert "asks for" in failure(stores.release("1.0.1"))
    assert not stores.places[1].exists()


def test_a_channel_is_good_for_a_year(team):
    team.release("1.0.0")
    expires = pointer(team).expires
    assert pointer(team, today=expires).version == "1.0.0"
    with pytest.raises(IntegrityError, match=f"was good until {expires}"):
        pointer(team, today=expires + timedelta(days=1))


def test_the_card_says_what_a_user_and_the_hub_want_to_know(team):
    team.release("1.0.0", trigger='a "mei" `x` | \x7f\n---')
    text = (team.released("1.0.0") / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "diffusers"
    assert card.data.to_dict()["instance_prompt"] == 'a "mei" `x` | \x7f\n---'
    assert "<lora:mei:0.8>" in text
    assert "Recommended weight: **0.8**" in text
    sha256 = json.loads((team.released("1.0.0") / "release.json").read_text())["files"][1]["sha256"]
    assert sha256 in text
    unknown = DeploySettings(targets=("store",), license="LicenseRef-Ours")
    team.release("2.0.0", settings=unknown)
    data = ModelCard((team.released("2.0.0") / "README.md").read_text()).data
    assert (data.license, data.license_name) == ("other", "LicenseRef-Ours")
