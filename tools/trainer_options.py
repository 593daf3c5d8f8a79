"""Writes down which options other trainers publish: names and types, read from their source.

    python tools/trainer_options.py sd-scripts GIT_FOLDER
    python tools/trainer_options.py ai-toolkit GIT_FOLDER

Their code is parsed, never run. What is written are facts: the names, types and choices that their
parsers accept, and the commit that was read (tests/training/published/*.json).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).parents[1] / "tests" / "training" / "published"
SD_MODULES = (
    "library/train_util.py",
    "library/config_util.py",
    "library/custom_train_functions.py",
    "library/deepspeed_utils.py",
    "library/sai_model_spec.py",
    "library/sdxl_train_util.py",
    "library/utils.py",
)
SD_SCRIPTS = ("train_network.py", "sdxl_train_network.py")
SD_SCHEMAS = {
    "dataset": ("DATASET_ASCENDABLE_SCHEMA",),
    "subset": (
        "SUBSET_ASCENDABLE_SCHEMA",
        "DO_SUBSET_ASCENDABLE_SCHEMA",
        "DB_SUBSET_ASCENDABLE_SCHEMA",
        "DB_SUBSET_DISTINCT_SCHEMA",
    ),
}
AI_SECTIONS = {
    "NetworkConfig": "network",
    "SaveConfig": "save",
    "DatasetConfig": "datasets",
    "TrainConfig": "train",
    "ModelConfig": "model",
    "EMAConfig": "ema_config",
}


class Source:
    """A git repository at its HEAD."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", self.folder, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def tree(self, path: str) -> ast.Module:
        return ast.parse(self.git("show", f"HEAD:{path}"))

    def commit(self) -> str:
        return self.git("rev-parse", "HEAD").strip()


def sd_scripts(source: Source) -> dict[str, object]:
    """Options of the two scripts, keys of the dataset file, and what else is chosen by name."""
    trees = [source.tree(path) for path in SD_MODULES]
    functions = {f.name: f for tree in trees for f in walk(tree, ast.FunctionDef)}
    util = source.tree("library/config_util.py")
    scripts = {}
    for script in SD_SCRIPTS:
        own = [f for f in walk(source.tree(script), ast.FunctionDef) if f.name == "setup_parser"]
        found = dict(arguments(own[0], functions))
        if script != SD_SCRIPTS[0]:
            found = {**scripts[SD_SCRIPTS[0]], **found}
        scripts[script] = dict(sorted(found.items()))
    return {
        "scripts": scripts,
        "sections": {name: schema(util, names) for name, names in SD_SCHEMAS.items()},
        "optimizers": texts(functions["get_optimizer"], "optimizer_type"),
        "network_args": gets(source.tree("networks/lora.py"), "kwargs"),
    }


def arguments(
    function: ast.FunctionDef, functions: dict[str, ast.FunctionDef]
) -> Iterator[tuple[str, dict[str, object]]]:
    """The options that a function adds to a parser, those of the functions it calls included."""
    for call in walk(function, ast.Call):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name == "add_argument":
            given = {k.arg: k.value for k in call.keywords}
            for flag in (a.value for a in call.args if isinstance(a, ast.Constant)):
                if str(flag).startswith("--"):
                    yield str(flag)[2:], argument(given)
        elif name.startswith("add_") and name in functions:
            yield from arguments(functions[name], functions)


def argument(given: dict[str | None, ast.expr]) -> dict[str, object]:
    """What an option takes."""
    fact: dict[str, object] = {"type": "str"}
    if "action" in given:
        fact["type"] = "flag"
    elif "type" in given:
        fact["type"] = ast.unparse(given["type"])
    if "nargs" in given:
        fact["nargs"] = ast.literal_eval(given["nargs"])
    if "choices" in given:
        fact["choices"] = ast.literal_eval(given["choices"])
    return fact


def schema(tree: ast.Module, names: tuple[str, ...]) -> dict[str, str]:
    """The keys of the dictionaries that have these names, and what their values must be."""
    found = {}
    for assigned in walk(tree, ast.Assign):
        target = assigned.targets[0]
        if isinstance(target, ast.Name) and target.id in names:
            assert isinstance(assigned.value, ast.Dict)
            for key, value in zip(assigned.value.keys, assigned.value.values, strict=True):
                inner = key.args[0] if isinstance(key, ast.Call) else key
                text = ast.unparse(value)
                # A resolution is one number, or two in a list.
                found[ast.literal_eval(inner)] = "int" if "scalar_or_twodim" in text else text
    return dict(sorted(found.items()))


def ai_toolkit(source: Source) -> dict[str, object]:
    """Keys of the config by section, and what else is chosen by name."""
    modules = source.tree("toolkit/config_modules.py")
    sections = {}
    for kind in walk(modules, ast.ClassDef):
        if kind.name in AI_SECTIONS:
            sections[AI_SECTIONS[kind.name]] = typed_gets(kind)
    process = [
        *walk(source.tree("jobs/process/BaseTrainProcess.py"), ast.Call),
        *walk(source.tree("jobs/process/BaseSDTrainProcess.py"), ast.Call),
        *walk(source.tree("jobs/ExtensionJob.py"), ast.Call),
    ]
    uids = [
        assigned.value.value
        for assigned in walk(source.tree("extensions_built_in/sd_trainer/__init__.py"), ast.Assign)
        if isinstance(assigned.value, ast.Constant) and ast.unparse(assigned.targets[0]) == "uid"
    ]
    special = source.tree("toolkit/lora_special.py")
    network = next(k for k in walk(special, ast.ClassDef) if k.name == "LoRASpecialNetwork")
    init = next(f for f in walk(network, ast.FunctionDef) if f.name == "__init__")
    return {
        "sections": sections,
        "process": sorted(
            {c.args[0].value for c in process if getattr(c.func, "attr", "") == "get_conf"}
        ),
        "types": sorted(uids),
        "archs": literals(modules, "ModelArch"),
        "networks": literals(modules, "NetworkType"),
        "network_kwargs": sorted(a.arg for a in init.args.args),
        "optimizers": texts(source.tree("toolkit/optimizer.py"), "lower_type"),
        "schedulers": texts(source.tree("toolkit/scheduler.py"), "name"),
    }


def typed_gets(kind: ast.ClassDef) -> dict[str, str]:
    """The keys that a class takes of `kwargs`, with the type written beside; else `any`."""
    found = dict.fromkeys(gets(kind, "kwargs"), "any")
    for assigned in walk(kind, ast.AnnAssign):
        for name in gets(assigned, "kwargs"):
            found[name] = ast.unparse(assigned.annotation)
    return dict(sorted(found.items()))


def gets(tree: ast.AST, name: str) -> list[str]:
    """The keys that are asked for by `name.get("key", …)`."""
    return sorted(
        {
            call.args[0].value
            for call in walk(tree, ast.Call)
            if ast.unparse(call.func).endswith(f"{name}.get")
            and isinstance(call.args[0], ast.Constant)
        }
    )


def literals(tree: ast.Module, name: str) -> list[str]:
    """The values of a `Literal` alias."""
    for assigned in walk(tree, ast.Assign):
        if ast.unparse(assigned.targets[0]) == name:
            return sorted(c.value for c in walk(assigned.value, ast.Constant))
    raise SystemExit(f"no {name}")


def texts(tree: ast.AST, name: str) -> list[str]:
    """The texts that a variable is compared with."""
    found = set()
    for node in walk(tree, ast.AST):
        compared = isinstance(node, ast.Compare) and ast.unparse(node.left) == name
        method = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if compared or method in (f"{name}.startswith", f"{name}.endswith"):
            found |= {c.value for c in walk(node, ast.Constant) if isinstance(c.value, str)}
    return sorted(found - {""})


def walk(tree: ast.AST, kind: type) -> Iterator:
    """The nodes of a kind."""
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def main(name: str, folder: str) -> None:
    """Writes the facts of one trainer."""
    source = Source(folder)
    facts = {"sd-scripts": sd_scripts, "ai-toolkit": ai_toolkit}[name](source)
    TARGET.mkdir(exist_ok=True)
    path = TARGET / f"{name}.json"
    # One option a line: what changes is seen.
    text = json.dumps({"commit": source.commit(), **facts}, indent=1)
    path.write_text(text + "\n")
    print(f"{path}: {len(text)} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
