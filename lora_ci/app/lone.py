"""A judgement of one adapter file, with no repository and no config of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.app.folder_source import FolderSource
from lora_ci.app.gather import hub_facts
from lora_ci.app.report_files import write_report
from lora_ci.app.specs import INPUTS, ensure_input
from lora_ci.app.votes import with_votes
from lora_ci.app.wiring import Deps, Places, open_deps
from lora_ci.changes.folder import read_folder
from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Config, HubModel, Lora
from lora_ci.core.changeset import ChangeSet
from lora_ci.core.clock import new_run_id
from lora_ci.core.digest import sha256_file
from lora_ci.core.embedders import parse_embedder
from lora_ci.core.event import Event, EventKind
from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.run import RunView, StepView, run_outcome
from lora_ci.core.settings import settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepResult, StepSpec
from lora_ci.execution.executor import Watch, step_folder
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import qa_fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Lone:
    """An adapter file, and what it is judged with: folders and files by the step's inputs.

    `released` is the file that it must not fall behind.
    """

    lora: Lora
    adapter: Path
    inputs: Mapping[str, Path]
    released: Path | None = None


def judge_lone(lone: Lone, out: Path, *, cache: Path, watch: Watch) -> RunView:
    """Judges it, keeps everything in the state folder `out` and writes the report there.

    The same question again is answered from the record. A signal's outcome is `interrupted`: the
    next call goes on from the pictures that are there.

    Raises:
        InputError: a file or folder cannot be read.
        InfrastructureError: results cannot be kept.
    """
    source = FolderSource(
        root=out, config=Config(loras={lone.lora.name: lone.lora}, places={}), inputs={}, former={}
    )
    deps = open_deps(source, places=Places(state=out, cache=cache), watch=watch)
    try:
        view = _judge(lone, deps)
        deps.ledger.save_view(view)
        view = with_votes(view, deps.ledger)
        notes = write_report(view, deps.store, out)
        return replace(view, notes=notes)
    finally:
        deps.ledger.close()


def _judge(lone: Lone, deps: Deps) -> RunView:
    started, at = deps.clock.monotonic(), deps.clock.now().isoformat(timespec="seconds")
    facts = facts_of(lone)
    files = {"adapter": lone.adapter} | ({"released": lone.released} if lone.released else {})
    digests = {name: sha256_file(path) for name, path in files.items()}
    made = qa_fingerprint(lone.lora, facts, digests["adapter"], digests.get("released"))
    event = Event(kind=EventKind.MANUAL, repo=lone.adapter.name, head="")
    record = deps.records.find(made.value)
    decision = Decision(
        lora=lone.lora.name,
        stage=Stage.QA,
        action=Action.REUSE if record else Action.RUN,
        why=f"reused: same question as in run {record.run_id}" if record else "asked for",
        fingerprint=made,
        record=record,
    )
    plan = Plan(head="", decisions=(decision,), changes=ChangeSet(base=None, head="", datasets=()))
    run_id, interrupted = new_run_id(deps.clock), False
    deps.ledger.start_run(run_id, event)
    result = record.result if record else None
    if record is None:
        kept = {
            name: StepInput(content_id=deps.store.put(path), sha256=digests[name])
            for name, path in files.items()
        }
        spec = StepSpec(
            stage=Stage.QA,
            lora=lone.lora.name,
            fingerprint=made.value,
            inputs=inputs_of(lone, facts, deps) | kept,
            params={
                "settings": settings_json(lone.lora.qa),
                "trigger": lone.lora.trigger,
                "type": str(lone.lora.type),
            },
        )
        folder = step_folder(deps.state, spec.fingerprint).path
        deps.ledger.queue.add(run_id, decision, spec, commit="", folder=folder)
        interrupted = not deps.driver(run_id).drive(run_id)
        result = deps.ledger.queue.result(run_id, lone.lora.name, Stage.QA)
        if result is None and interrupted:
            result = StepResult(outcome=Outcome.INTERRUPTED)
        # A signal that came when all was judged has stopped nothing.
        interrupted = interrupted and result is not None and result.outcome is Outcome.INTERRUPTED
    if result:
        result = named(result, {digests[name]: path.name for name, path in files.items()})
    steps = (StepView(decision=decision, result=result),)
    return RunView(
        run_id=run_id,
        event=event,
        plan=plan,
        steps=steps,
        started_at=at,
        duration_s=deps.clock.monotonic() - started,
        outcome=run_outcome(plan, steps, interrupted=interrupted),
    )


def facts_of(lone: Lone) -> LoraFacts:
    """What the folders and files hold. Raises InputError."""
    found = {name: read_folder(path.resolve(), str(path)) for name, path in lone.inputs.items()}
    if hub := parse_embedder(lone.lora.qa.embedder).hub:
        found["embedder"] = hub_facts(HubModel(hub=hub[0], revision=hub[1]))
    return LoraFacts(
        dataset=found.get("dataset"),
        base_model=found["base_model"],
        references=found.get("references"),
        embedder=found.get("embedder"),
        companion=found.get("companion"),
    )


def inputs_of(lone: Lone, facts: LoraFacts, deps: Deps) -> dict[str, StepInput]:
    """Where the step finds them: where they lie, as nothing else than this run reads them."""
    inputs = {}
    for name in INPUTS[Stage.QA]:
        found: InputFacts | None = getattr(facts, name)
        if found is None:
            continue
        path = lone.inputs.get(name)
        if path is None:  # a model of the hub
            inputs[name] = ensure_input(name, found, (), deps)
        else:
            place = laid_out(name, path.resolve(), deps.state)
            inputs[name] = StepInput(
                content_id=found.content_id, path=str(place), shown_as=str(path)
            )
    return inputs


def laid_out(name: str, path: Path, state: Path) -> Path:
    """Where the step finds an input: an embedder of one file is alone in a folder, as always."""
    if name != "embedder" or path.is_dir():
        return path
    folder = state / "inputs" / sha256_file(path)
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / path.name
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return folder


def named(result: StepResult, names: Mapping[str, str]) -> StepResult:
    """The result with files called by their names, which the store does not know."""

    def told(message: str) -> str:
        for digest, name in names.items():
            # The store keeps a file below the first two digits of its digest.
            message = message.replace(digest[2:], name)
        return message

    findings = tuple(replace(found, message=told(found.message)) for found in result.findings)
    return replace(result, findings=findings)
