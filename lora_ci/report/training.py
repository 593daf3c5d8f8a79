"""What is seen of a training, as HTML: curves, pictures made on the way, how it was done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lora_ci.core.step import StepResult
from lora_ci.report.charts import Line, line_chart
from lora_ci.report.details import Details, metric
from lora_ci.report.figures import counted, number, plain, shorten, size
from lora_ci.report.markup import facts, text
from lora_ci.report.picture import Preview
from lora_ci.report.samples import sample_strip
from lora_ci.report.trained import Lowest, known, lowest

MOST_BUCKETS = 12
MOST_WORDS = 60
# More dots than this would hide the line.
MOST_DOTS = 40
NOTE = (
    "Training loss is that of other pictures and noise at each point, validation loss that of the "
    "same ones throughout: compare their courses, not their heights."
)


def training_section(
    found: Details, result: StepResult | None, pictures: Mapping[str, Preview]
) -> str:
    """The section of one training; `pictures` gives previews by sha256."""
    if result is None:
        return ""
    parts = [
        _curves(found),
        sample_strip(result, found.prompts, pictures),
        facts(_facts(found, result)),
    ]
    body = "".join(parts)
    return f"<h3>Training</h3>{body}" if body else ""


def _curves(found: Details) -> str:
    best = lowest(found.validation_loss)
    held_out = known(found.validation_loss)
    lines = [Line("training loss", "loss", known(found.loss))]
    told = ""
    if best:
        lines.append(Line("validation loss", "held-out", held_out, dots=len(held_out) <= MOST_DOTS))
        name = f"lowest: {number(best.loss, 4)} at step {plain(best.step)}"
        lines.append(Line(name, "lowest", [(best.step, best.loss)], dots=True))
        told = f"<p>{_rise(best)}</p>" if best.rose else f'<p class="dim">{NOTE}</p>'
    chart = line_chart(lines, "step")
    if not chart:
        return ""
    rates = Line("learning rate", "rate", known(found.learning_rate))
    rate = line_chart([rates], "step", bottom=0.0)
    return f'<div class="curves">{chart}<div class="low">{rate}</div>{told}</div>'


def _rise(best: Lowest) -> str:
    """What the curve says, and no more: whether pictures got worse is for QA to say."""
    share = f" by {100 * (best.last / best.loss - 1):.0f} %" if best.loss > 0 else ""
    return (
        f"The validation loss was lowest at step {plain(best.step)} of {plain(best.last_step)} and "
        f"has risen{share} since: the later steps fit pictures that were held out less well."
    )


def _facts(found: Details, result: StepResult) -> Iterator[tuple[str, str]]:
    """Names and values (HTML) of what is known of how it was done."""
    if steps := metric(result, "steps"):
        yield "steps", _steps(steps, result)
    if images := metric(result, "images"):
        yield "images", plain(images) + _shapes(found)
    yield from _machine(found, result)
    if encoded := _encoded(result):
        yield "encoded", encoded
    if found.memory:
        yield "memory", _memory(found)
    if found.backend:
        yield "trained by", _backend(found.backend)


def _machine(found: Details, result: StepResult) -> Iterator[tuple[str, str]]:
    if found.device:
        several = f" × {found.processes}" if (found.processes or 1) > 1 else ""
        yield "device", f"{_short(found.device)}{several}"
    if found.precision:
        yield "precision", _short(found.precision)
    if found.optimizer:
        yield "optimizer", _short(found.optimizer)
    if peak := metric(result, "peak_memory_mb"):
        yield "peak memory", size(round(max(0.0, peak) * 1e6))


def _steps(steps: float, result: StepResult) -> str:
    """`1,000 (0.43 s each, 4,000 images seen)`."""
    seen, each = metric(result, "images_seen"), metric(result, "step_s")
    known_ones = [
        f"{plain(each)} s each" if each else "",
        f"{plain(seen)} images seen" if seen else "",
    ]
    told = ", ".join(fact for fact in known_ones if fact)
    return f"{plain(steps)} ({told})" if told else plain(steps)


def _shapes(found: Details) -> str:
    """` in 3 shapes: 64x64 (80), …`; nothing where there is only one."""
    if len(found.buckets) < 2:
        return ""
    shown = [f"{_short(name)} ({n:,})" for name, n in list(found.buckets.items())[:MOST_BUCKETS]]
    more = ", …" if len(found.buckets) > MOST_BUCKETS else ""
    return f" in {counted(len(found.buckets), 'shape')}: {', '.join(shown)}{more}"


def _encoded(result: StepResult) -> str:
    """What the caches did not have."""
    views, captions = metric(result, "encoded_pictures"), metric(result, "encoded_captions")
    if views is None or captions is None:
        return ""
    if views <= 0 and captions <= 0:
        return "nothing: all was in the cache"
    return f"{counted(round(views), 'view')} and {counted(round(captions), 'caption')}, now cached"


def _memory(found: Details) -> str:
    """How a batch was computed in the end."""
    if found.memory is None:
        return ""
    rows = f"{counted(found.memory.rows, 'image')} at once"
    return f"{rows}, gradient checkpointing" if found.memory.checkpointing else rows


def _backend(backend: Mapping[str, str]) -> str:
    name = _short(backend.get("name", ""))
    versions = [f"{_short(k)} {_short(v)}" for k, v in list(backend.items())[:10] if k != "name"]
    return f"{name} ({', '.join(versions)})" if versions else name


def _short(words: str) -> str:
    return text(shorten(words, MOST_WORDS))
