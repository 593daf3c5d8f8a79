"""What a build comes to: each picture of the source, what becomes of it, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from lora_ci.core.digest import sha256_json
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.consent import Datasheet
from lora_ci.dataset.normalise import Form

# Raise it when the same source and settings would give other files.
BUILDER_VERSION = 1
DATASET = "dataset"
REFERENCES = "references"


class Fate(StrEnum):
    """What becomes of a picture."""

    TRAINING = "training"
    REFERENCE = "reference"
    UNFIT = "unfit"
    DUPLICATE = "duplicate"
    SURPLUS = "surplus"


FOLDERS = {Fate.TRAINING: DATASET, Fate.REFERENCE: REFERENCES}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What is asked for.

    `pinned` are paths below the source that are taken in any case. `allowed` are rules by which no
    picture that can be decoded is unfit: what they find lowers its quality. `seed` draws the sample
    by which more than 12,000 pictures are judged.
    """

    target: int
    references: int = 0
    pinned: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    seed: int = 0
    form: Form = field(default_factory=Form)
    checks: ValidateSettings = field(default_factory=ValidateSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of the source.

    `flaws` are what checks say of it, (rule, message). `quality` is 0 to 1. Of a chosen one `gain`
    is what it adds to the choice and `covers` for how many it stands. `like` is the picture that is
    kept for a duplicate, or the chosen one that is most like one that is left out, with their
    cosine `likeness`.
    """

    name: str
    sha256: str
    fate: Fate
    width: int = 0
    height: int = 0
    quality: float = 0.0
    flaws: tuple[tuple[str, str], ...] = ()
    gain: float | None = None
    covers: int | None = None
    pinned: bool = False
    like: str | None = None
    likeness: float | None = None
    exact: bool = False
    written_as: str | None = None
    caption: str | None = None

    @property
    def reason(self) -> str:
        """Why, in words."""
        flaws = "; ".join(message for _, message in self.flaws)
        match self.fate:
            case Fate.TRAINING | Fate.REFERENCE:
                why = "pinned" if self.pinned else f"adds {self.gain:.2f}"
                others = " of those not chosen" if self.fate is Fate.REFERENCE else ""
                told = f"{why}, stands for {self.covers}{others}"
                return f"{told}; {flaws}" if flaws else told
            case Fate.UNFIT:
                return flaws
            case Fate.DUPLICATE:
                same = "the same pixels as" if self.exact else "nearly the same as"
                return f"{same} {self.like}, which is kept for it"
            case Fate.SURPLUS:
                told = f"others add more; {self.like} is most like it ({self.likeness:.2f})"
                return f"{flaws}; {told}" if flaws else told


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """All that decides the bytes of a build.

    `features` says by what pictures were compared, and `libraries` what decodes, scales and encodes
    them, with versions. `coverage` is how like the chosen the candidates are on average, 0 to 1.
    `told` is what people wrote of the pictures in the source's datasheets. `notes` are captions and
    datasheets that were left out.
    """

    source: str
    settings: BuildSettings
    features: str
    libraries: tuple[str, ...]
    pictures: tuple[Picture, ...]
    coverage: float
    stood_for: int
    told: Datasheet = field(default_factory=Datasheet)
    notes: tuple[str, ...] = ()
    version: int = BUILDER_VERSION

    @property
    def id(self) -> str:
        """Hex sha256 of the plan: equal plans give equal bytes."""
        return sha256_json(self)

    def of(self, *fates: Fate) -> Iterator[Picture]:
        """The pictures of some fates, by name."""
        return (picture for picture in self.pictures if picture.fate in fates)

    def count(self, fate: Fate) -> int:
        """How many pictures have a fate."""
        return sum(1 for _ in self.of(fate))
