"""What a dataset must not hold: malware, content that the config forbids, people unasked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lora_ci.core.digest import sha256_json
from lora_ci.core.embedders import EmbedderKind, parse_embedder
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.finding import Finding
from lora_ci.core.settings import LoraType, ValidateSettings
from lora_ci.dataset.consent import consent_findings, read_datasheets
from lora_ci.dataset.content import Content, check_content
from lora_ci.dataset.files import list_files, shown
from lora_ci.dataset.known import KnownAnswers
from lora_ci.dataset.scan import FileScanner, scan_files
from lora_ci.dataset.scanners.clamd import clamd_at
from lora_ci.dataset.scanners.yara import load_yara
from lora_ci.ruler.safety import open_scanner

# What an operator sets on the machine that validates; no push can.
CLAMD, YARA = "LORA_CI_CLAMD", "LORA_CI_YARA"
LIBRARIES = ("numpy", "pillow", "onnxruntime", "torch", "transformers", "diffusers")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedWith:
    """What pictures are scanned with: its files, and an id of their content."""

    folder: Path | None
    content_id: str


def file_scanners(
    settings: ValidateSettings, rules: Path | None, environment: Mapping[str, str]
) -> list[FileScanner]:
    """ClamAV and YARA, as far as the settings and the operator want them.

    Raises:
        UsageError: the operator's address of ClamAV is none.
        InfrastructureError: ClamAV is required and not named, or rules cannot be used.
    """
    scanners: list[FileScanner] = []
    address = environment.get(CLAMD)
    if address and settings.antivirus != "off":
        scanners.append(clamd_at(address))
    elif settings.antivirus == "required":
        message = f"`validate.antivirus: required`, and this machine names no ClamAV in {CLAMD}"
        hint = f"next: {CLAMD}=unix:/run/clamav/clamd.ctl, where steps run"
        raise InfrastructureError(message, rule="scan.not-there", hint=hint)
    own = environment.get(YARA)
    scanners += [load_yara(place) for place in (Path(own) if own else None, rules) if place]
    return scanners


def scan_folders(
    folders: Mapping[Path, str],
    scanners: Collection[FileScanner],
    cache: Path | None,
    progress: Progress,
) -> list[Finding]:
    """What the scanners find in all files of folders, each with the path that people know it by.

    Raises InfrastructureError: see `scan_files`.
    """
    found: list[Finding] = []
    for folder, shown_as in folders.items() if scanners else ():
        names = list_files(folder).names
        found += below(shown_as, scan_files(folder, names, scanners, cache, progress))
    return found


def below(folder: str, findings: Iterable[Finding]) -> list[Finding]:
    """The findings with the folder before the names of their files, which reports can show."""
    prefix = f"{folder.rstrip('/')}/" if folder else ""
    return [replace(f, file=prefix + shown(f.file)) if f.file else f for f in findings]


def look_at_content(
    folder: Path,
    damaged: Collection[str],
    settings: ValidateSettings,
    given: ScannedWith,
    *,
    cache: Path,
    progress: Progress,
) -> Content:
    """What pictures show, by `validate.content`.

    Those that are `damaged` are told of elsewhere; their names are as people are shown them.

    Raises InfrastructureError where it cannot tell.
    """
    spec = settings.scanner
    images = [name for name in list_files(folder).images if shown(name) not in damaged]
    if spec is None or not images:
        return Content()
    try:
        scanner = open_scanner(spec, given.folder)
    except InputError as error:
        raise InfrastructureError(str(error), findings=error.findings) from error
    known = KnownAnswers(cache=cache, identity=_identity(spec, given.content_id))
    return check_content(folder, images, scanner, known, settings, progress=progress)


def ask_for_consent(
    folder: Path, settings: ValidateSettings, kind: LoraType, people: Collection[str]
) -> list[Finding]:
    """Findings of datasheets, and of pictures of people without consent where that is required."""
    listing = list_files(folder)
    sheets = read_datasheets(folder, listing.names)
    if settings.consent == "off":
        return list(sheets.findings)
    return [*sheets.findings, *consent_findings(sheets, listing.images, kind, people)]


def _identity(spec: str, content_id: str) -> str | None:
    """All that a scanner's answers depend on; None for a program, which may say other things."""
    if parse_embedder(spec).kind is EmbedderKind.EXEC:
        return None
    return sha256_json([content_id, [_version(name) for name in LIBRARIES]])


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"
