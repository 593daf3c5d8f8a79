"""Adapters of other algorithms: told apart by the names of their tensors, and refused by name.

Reading only the LoRA-like half of such a file would give another effect, silently.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.errors import InputError

RETRAIN = "train or export the adapter as plain LoRA"
EXTRACT = "extract a LoRA from base and tuned model with the tool that trained it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """`mark` begins a part of the key behind the module's name; `advice` is what to do."""

    mark: str
    algorithm: str
    advice: str = RETRAIN


FOREIGN = (
    Foreign(mark="hada_", algorithm="LoHa"),
    Foreign(mark="lokr_", algorithm="LoKr"),
    Foreign(mark="oft_", algorithm="OFT or BOFT"),
    Foreign(mark="boft_", algorithm="BOFT"),
    Foreign(mark="on_input", algorithm="IA3"),
    Foreign(mark="ia3_", algorithm="IA3"),
    Foreign(mark="a1", algorithm="GLoRA"),
    Foreign(mark="a2", algorithm="GLoRA"),
    Foreign(mark="b1", algorithm="GLoRA"),
    Foreign(mark="b2", algorithm="GLoRA"),
    Foreign(
        mark="down_list",
        algorithm="DyLoRA",
        advice="extract one rank with the tool that trained it (networks/extract_lora_from_dylora)",
    ),
    Foreign(
        mark="up_list",
        algorithm="DyLoRA",
        advice="extract one rank with the tool that trained it (networks/extract_lora_from_dylora)",
    ),
    Foreign(
        mark="lora_mid",
        algorithm="LoCon with Tucker decomposition",
        advice="train without use_tucker (use_cp_decomposition)",
    ),
    Foreign(mark="lora_E", algorithm="AdaLoRA"),
    Foreign(mark="lora_embedding_", algorithm="LoRA on token embeddings"),
    Foreign(mark="vera_", algorithm="VeRA"),
    Foreign(mark="diff_b", algorithm="full difference", advice=EXTRACT),
    Foreign(mark="diff", algorithm="full difference", advice=EXTRACT),
    Foreign(mark="w_norm", algorithm="trained norms (LyCORIS)", advice="train without train_norm"),
    Foreign(mark="b_norm", algorithm="trained norms (LyCORIS)", advice="train without train_norm"),
    Foreign(mark="scalar", algorithm="LyCORIS with a scalar", advice="train without use_scalar"),
)


def refuse_foreign(key: str, name: str) -> None:
    """Raises InputError if `key` of the file `name` is a part of another algorithm."""
    parts = key.split(".")[1:]
    if parts[-2:] == ["lora_B", "bias"]:
        raise _refusal(key, name, Foreign(mark="", algorithm="LoRA with a bias"))
    for foreign in FOREIGN:
        if any(_begins(part, foreign.mark) for part in parts):
            raise _refusal(key, name, foreign)


def _begins(part: str, mark: str) -> bool:
    return part.startswith(mark) if mark.endswith("_") else part == mark


def _refusal(key: str, name: str, foreign: Foreign) -> InputError:
    return InputError(
        f"{name}: `{key[:100]}` belongs to a {foreign.algorithm} adapter, which cannot be converted"
        " to LoRA without loss",
        hint=foreign.advice,
    )
