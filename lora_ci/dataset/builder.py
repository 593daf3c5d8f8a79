"""A folder of pictures → a dataset: the best diverse ones, in one form, each with its reason.

OUT/dataset             pictures and captions to train on, and a datasheet.yml for people to fill in
OUT/references          pictures that QA compares with, none of which looks like one of the dataset
OUT/datasheet.md        what was chosen, why, what was done to it, and what people told
OUT/datasheet.json      the same for programs
OUT/contact-sheet.html  all pictures with the reason of each, in one page

The same source and settings give the same bytes. The folder appears whole: it is made beside its
place, and a build that was killed goes on there. Nothing of the source is written to.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InputError, UsageError, machine_error
from lora_ci.dataset.beside import beside, place
from lora_ci.dataset.build_choice import Planned, plan_build
from lora_ci.dataset.build_features import Progress, read_same
from lora_ci.dataset.build_plan import FOLDERS, BuildPlan, BuildSettings, Fate, Picture
from lora_ci.dataset.contact_sheet import Thumbnail, render_contact_sheet, shown_of
from lora_ci.dataset.datasheet import (
    TOLD_IN,
    render_datasheet_json,
    render_datasheet_markdown,
    render_told,
)
from lora_ci.dataset.decode import UnreadableError
from lora_ci.dataset.normalise import normalised, thumbnail
from lora_ci.steps.folder import write_whole

if TYPE_CHECKING:
    from lora_ci.ruler.feature_cache import CachedEmbedder

SHEET_SIDE = 160
CONTACT_SHEET = "contact-sheet.html"
DATASHEET = "datasheet.md"
DATASHEET_JSON = "datasheet.json"


def build_dataset(
    source: Path,
    out: Path,
    settings: BuildSettings,
    *,
    embedder: CachedEmbedder | None = None,
    cache: Path | None = None,
    progress: Progress = lambda *_: None,
) -> BuildPlan:
    """Makes the folder `out` of the pictures below `source`; the rest as for `plan_build`.

    Raises:
        UsageError: `out` is there already, or in the source, or a pinned picture is not there.
        InputError: too few pictures can be used, or one changed meanwhile.
        InfrastructureError: the disk is full or refuses; the same call goes on where it stopped.
    """
    check_places(source, out)
    planned = plan_build(source, settings, embedder=embedder, cache=cache, progress=progress)
    write_build(planned, out, progress)
    return planned.plan


def check_places(source: Path, out: Path) -> None:
    """Raises UsageError if `out` is in use, or one of the two lies in the other."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise UsageError(f"{out} is there already", hint="next: give the name of a new folder")
    here, there = source.resolve(), out.resolve()
    if here in (there, *there.parents) or there in here.parents:
        message = f"{out} and the source {source} lie in each other"
        raise UsageError(message, hint="next: name a folder elsewhere; the source stays as it is")


def write_build(planned: Planned, out: Path, progress: Progress = lambda *_: None) -> None:
    """Writes what was planned. Raises as `build_dataset`."""
    try:
        with beside(out, planned.plan.id) as folder:
            _write(planned, folder, progress)
            place(folder, out)
    except OSError as error:
        expected = machine_error(error, out.absolute().parent)
        if expected is None:
            raise
        raise expected from error


def _write(planned: Planned, folder: Path, progress: Progress) -> None:
    plan = planned.plan
    chosen = list(plan.of(*FOLDERS))
    written: dict[str, str] = {}
    for done, picture in enumerate(chosen, 1):
        written[picture.sha256] = _write_picture(picture, planned, folder)
        progress("write", done, len(chosen))
    shown = [picture for fate in Fate for picture in shown_of(plan, fate)]
    thumbnails = {}
    for done, picture in enumerate(shown, 1):
        if small := _thumbnail(picture, planned):
            thumbnails[picture.name] = small
        progress("contact sheet", done, len(shown))
    texts = {
        CONTACT_SHEET: render_contact_sheet(plan, thumbnails),
        DATASHEET: render_datasheet_markdown(plan, written),
        TOLD_IN: render_told(plan),
        DATASHEET_JSON: render_datasheet_json(plan, written),
    }
    for name, text in texts.items():
        write_whole(folder / name, text.encode())
    _leave_only(folder, {*texts, *_names(chosen)})


def _names(chosen: Iterable[Picture]) -> set[str]:
    """The paths of what is written, without their endings."""
    return {f"{FOLDERS[p.fate]}/{p.written_as}" for p in chosen}


def _write_picture(picture: Picture, planned: Planned, folder: Path) -> str:
    """Writes a picture and its caption, if they are not there; the sha256 of the picture."""
    form = planned.plan.settings.form
    target = folder / FOLDERS[picture.fate] / f"{picture.written_as}.{form.kind}"
    target.parent.mkdir(exist_ok=True)
    if picture.caption is not None:
        write_whole(target.with_suffix(".txt"), f"{picture.caption}\n".encode())
    if target.is_file():
        return sha256_bytes(target.read_bytes())
    given = read_same(planned.files[picture.sha256], picture.sha256)
    try:
        data = normalised(given, form)
    except UnreadableError as error:
        message = f"{picture.name}: {error}"
        raise InputError(message, file=picture.name, hint="next: remove it") from error
    write_whole(target, data)
    return sha256_bytes(data)


def _thumbnail(picture: Picture, planned: Planned) -> Thumbnail | None:
    """None for what could not be decoded when it was measured."""
    if not picture.width:
        return None
    data = read_same(planned.files[picture.sha256], picture.sha256)
    try:
        small, size = thumbnail(data, SHEET_SIDE)
    except UnreadableError:
        return None
    return Thumbnail(jpeg=small, width=size[0], height=size[1])


def _leave_only(folder: Path, names: set[str]) -> None:
    """Removes what a killed build left half written."""
    for path in folder.rglob("*"):
        if (
            path.is_file()
            and not {
                path.relative_to(folder).as_posix(),
                path.relative_to(folder).with_suffix("").as_posix(),
            }
            & names
        ):
            path.unlink()
