"""A model that peft taught, with our layers in the place of peft's linear ones."""

import copy

from peft.tuners.lora import Linear

from lora_ci.training.linear import NAME, LinearWithLora


def with_own_layers(whole):
    """A copy with the same weights; the adapter is called `NAME`."""
    ours = copy.deepcopy(whole)
    for path, theirs in list(ours.named_modules()):
        if isinstance(theirs, Linear):
            layer = LinearWithLora(theirs.base_layer, theirs.r[NAME], theirs.scaling[NAME])
            for half in (layer.down, layer.up):
                half.data = half.data.float()
            layer.load_state_dict(theirs.state_dict())
            above, _, last = path.rpartition(".")
            setattr(ours.get_submodule(above), last, layer)
    return ours
