"""Folders as the source: a config file and what lies where it says, without git and DVC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lora_ci.app.gather import gather, input_paths
from lora_ci.app.source import Gathered, Written
from lora_ci.changes.copying import copy_verified
from lora_ci.changes.diff import diff_inputs
from lora_ci.changes.folder import read_folder
from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Config, Lora
from lora_ci.config.model import Source as DatasetPart
from lora_ci.config.work_tree import read_config
from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.digest import canonical_json, sha256_json
from lora_ci.core.errors import InfrastructureError, InputError, UsageError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.settings import settings_json
from lora_ci.plan.facts import LoraFacts
from lora_ci.steps.folder import write_whole

MEMORY = "folders.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """One LoRA and its folders as they were when they were read.

    `inputs` has the facts of each path, or why there are none; `former` those of earlier calls,
    which explain what changed.
    """

    root: Path
    config: Config
    inputs: Mapping[str, InputFacts | InputError]
    former: Mapping[str, InputFacts]

    def event(self) -> Event:
        """What asks for the run. The head stands for a commit: equal content, equal id."""
        settings = {name: settings_json(lora) for name, lora in self.config.loras.items()}
        content = {path: facts.content_id for path, facts in self._found().items()}
        head = sha256_json({"settings": settings, "content": content})[:40]
        return Event(kind=EventKind.MANUAL, repo=self.root.name, head=head)

    def gather(self, event: Event) -> Gathered:
        def resolve(path: str) -> InputFacts:
            found = self.inputs[path]
            if isinstance(found, InputError):
                raise found
            return found

        facts = gather(self.config, resolve)
        return Gathered(
            config=self.config,
            facts=facts,
            changes=ChangeSet(base=None, head=event.head, datasets=self._changes(facts)),
            compare=self.compare,
        )

    def written(self, event: Event) -> Written | None:
        return None  # a folder stands in for the dataset that the file names

    def compare(self, now: InputFacts, content_id: str) -> DatasetChange | None:
        """What is different from the folder as it was in an earlier call."""
        then = self.former.get(now.path)
        return diff_inputs(then, now) if then and then.content_id == content_id else None

    def _changes(self, facts: Mapping[str, LoraFacts]) -> tuple[DatasetChange, ...]:
        inputs = [
            found
            for lora in facts.values()
            for found in (*lora.sources, lora.references, lora.regularization)
            if found
        ]
        changes = [diff_inputs(self.former.get(f.path), f) for f in dict.fromkeys(inputs)]
        return tuple(change for change in changes if change)

    def lay_out(self, facts: InputFacts, folder: Path) -> None:
        place = self.root / facts.path
        for entry in facts.entries or ():
            source = place if place.is_file() else place / entry.path
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                same = copy_verified(source, target, entry.content_id)
            except FileNotFoundError:
                same = False
            if not same:
                message = f"{facts.path}/{entry.path} was changed while it was being read"
                hint = "next: the same call, once nothing writes to the folder"
                raise InfrastructureError(message, hint=hint)

    def remember(self, state: Path) -> None:
        """Keeps the facts, so that the next call can say what changed."""
        write_whole(state / MEMORY, canonical_json({**self.former, **self._found()}))

    def _found(self) -> dict[str, InputFacts]:
        return {p: facts for p, facts in self.inputs.items() if isinstance(facts, InputFacts)}


def read_source(
    config_path: Path, dataset_path: Path, *, lora: str | None, state: Path
) -> FolderSource:
    """Reads config and folders; `dataset_path` stands in for the dataset of the LoRA.

    Raises:
        UsageError: the config cannot be used, or does not say which LoRA is meant.
    """
    root = config_path.resolve().parent
    config = read_config(config_path)
    given = choose(config, lora, config_path)
    dataset = dataset_path.resolve()
    if state.resolve().is_relative_to(dataset):
        message = f"{dataset} holds lora-ci's own files ({state.name}): it cannot be the dataset"
        raise UsageError(message, hint="next: move images and captions into a folder of their own")
    shown = dataset.relative_to(root).as_posix() if dataset.is_relative_to(root) else str(dataset)
    chosen = replace(given, dataset=(DatasetPart(path=shown),))
    inputs: dict[str, InputFacts | InputError] = {}
    for path in dict.fromkeys(input_paths(chosen)):
        try:
            inputs[path] = read_folder(root / path, path)
        except InputError as error:
            inputs[path] = error
    return FolderSource(
        root=root,
        config=replace(config, loras={chosen.name: replace(chosen, needs=())}, paths=()),
        inputs=inputs,
        former=remembered(state),
    )


def remembered(state: Path) -> dict[str, InputFacts]:
    """The facts of earlier calls by path; none if there was no call."""
    try:
        return msgspec.json.decode((state / MEMORY).read_bytes(), type=dict[str, InputFacts])
    except (OSError, msgspec.DecodeError):
        return {}


def choose(config: Config, name: str | None, path: Path) -> Lora:
    """The LoRA called `name`, or the only one. Raises UsageError."""
    known = ", ".join(config.loras)
    if name is None:
        if len(config.loras) > 1:
            message = f"{path} has {len(config.loras)} LoRAs; one must be chosen"
            raise UsageError(message, hint=f"pass lora=, one of: {known}")
        return next(iter(config.loras.values()))
    if name not in config.loras:
        raise UsageError(f"{path} has no LoRA `{name}`", hint=f"pass lora=, one of: {known}")
    return config.loras[name]
