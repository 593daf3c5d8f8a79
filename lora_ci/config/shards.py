"""`train.shards` → only what can be trained in parts, and merged into one file."""

from __future__ import annotations

from lora_ci.config.document import Node
from lora_ci.config.matrix import LONGEST_NAME
from lora_ci.config.reading import Reading
from lora_ci.core.settings import TrainSettings
from lora_ci.core.shard import Shard

# Of what is read as an adapter: `formats/read.py:MAX_RANK`.
MAX_RANK = 4096


def check_shards(reading: Reading, train: TrainSettings, node: Node, name: str) -> None:
    """Errors where a LoRA cannot be trained in the shards that it asks for.

    Of other trainers it is said with all else that they cannot do. `node` is the section `train` as
    it was written, `name` that of the LoRA.
    """
    count = train.shards
    if count == 1:
        return
    given = node.value if isinstance(node.value, dict) else {}
    where = given.get("shards", node).where
    if train.method == "dora":
        message = f"`shards: {count}`: what DoRA adapters do cannot be added up"
        reading.say("shards", message, where, "remove `shards`, or train with `method: lora`")
    rank = max(train.rank, *train.ranks.values()) if train.ranks else train.rank
    if rank * count > MAX_RANK:
        message = f"`shards: {count}`: ranks of {rank} add up to {rank * count}"
        reading.say("shards", message, where, f"expected at most {MAX_RANK} together")
    longest = len(Shard(of="", number=count, count=count).name)
    if len(name) + longest > LONGEST_NAME:
        message = f"`shards: {count}`: the name `{name}` is too long for those of its shards"
        reading.say("shards", message, where, f"expected at most {LONGEST_NAME - longest} letters")
