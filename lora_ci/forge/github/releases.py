"""Releases: a draft gets its files before anybody sees it, then it is published.

A release that is published is left as it is, apart from its notes: with immutable releases on
nothing else could be changed.
Source: https://docs.github.com/en/rest/releases
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lora_ci.core.digest import sha256_file
from lora_ci.core.errors import InputError
from lora_ci.forge.forge import ReleaseDraft
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.client import GitHubClient
from lora_ci.report.markdown import cut
from lora_ci.report.release_notes import YANKED, with_yank_banner

UPLOADED = "uploaded"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a release; `state` is another than `uploaded` if it came only in part."""

    id: int
    name: str
    state: str
    size: int
    digest: str | None = None

    def is_whole(self, size: int, sha256: str) -> bool:
        """True if it is the file."""
        digest = self.digest or f"sha256:{sha256}"
        return (self.state, self.size, digest) == (UPLOADED, size, f"sha256:{sha256}")


@dataclass(frozen=True, slots=True)
class Release:
    """A release as GitHub has it."""

    id: int
    tag_name: str
    html_url: str
    upload_url: str
    draft: bool
    prerelease: bool
    name: str | None = None
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Releases:
    """The releases of a repository; `repo` is its path."""

    client: GitHubClient
    repo: str

    def publish(self, draft: ReleaseDraft) -> Release:
        """The release of a tag with all its files; one that was begun is finished."""
        found = self._of(draft.tag)
        if found is None:
            body = {
                "tag_name": draft.tag,
                "target_commitish": draft.commit,
                "name": draft.title,
                "body": cut(draft.notes),
                "draft": True,
                "prerelease": draft.prerelease,
            }
            path = f"{self.repo}/releases"
            self.client.create(path, body, Release, look=lambda: self._of(draft.tag))
            # Whoever was at it at the same time sees the same one now.
            found = self._of(draft.tag)
        if found is None:
            raise InputError(f"the release of {draft.tag} was deleted while it was made")
        if not found.draft:
            return self._change(found, body=_kept_banner(found.body or "", cut(draft.notes)))
        self._upload(found, draft.files)
        return self._change(
            found,
            name=draft.title,
            body=cut(draft.notes),
            prerelease=draft.prerelease,
            draft=False,
        )

    def mark_yanked(self, tag: str, reason: str) -> None:
        """Says so on top of the notes, and takes the release from where the latest one is shown.

        Raises InputError if there is no such release.
        """
        found = self._of(tag)
        if found is None:
            raise InputError(f"there is no release {tag} on GitHub", hint="next: lora-ci status")
        self._change(found, body=with_yank_banner(found.body or "", reason), prerelease=True)

    def assets(self, release: Release) -> tuple[Asset, ...]:
        """The files that a release has."""
        pages = self.client.pages(f"{self._path(release)}/assets", list[Asset])
        return tuple(asset for page in pages for asset in page)

    def _of(self, tag: str) -> Release | None:
        """The release of a tag; of several the published one, else the oldest, which alone stays.

        Drafts are found in the list only.
        """
        pages = self.client.pages(f"{self.repo}/releases", list[Release])
        found = [release for page in pages for release in page if release.tag_name == tag]
        found.sort(key=lambda release: (release.draft, release.id))
        for double in found[1:]:
            if double.draft:
                self.client.delete(self._path(double))
        return found[0] if found else None

    def _change(self, release: Release, **fields: str | bool) -> Release:
        """Changes what is not so already."""
        if all(getattr(release, name) == value for name, value in fields.items()):
            return release
        return self.client.replace("PATCH", self._path(release), fields, Release)

    def _upload(self, release: Release, files: Mapping[str, Path]) -> None:
        """Gives a draft the files that it lacks, and no others."""
        named = {asset_name(name): path for name, path in files.items()}
        if len(named) < len(files):
            raise InputError(f"{release.tag_name}: two files of one name on GitHub")
        there = {asset.name: asset for asset in self.assets(release)}
        for name in there.keys() - named.keys():
            self.client.delete(self._asset(there[name]))
        for name, path in named.items():
            size, sha256 = path.stat().st_size, sha256_file(path)
            if not size:
                raise InputError(f"{release.tag_name}: {name} is empty, which GitHub does not take")
            if name in there and there[name].is_whole(size, sha256):
                continue
            if name in there:
                self.client.delete(self._asset(there[name]))
            self._send(release, name, path, size, sha256)

    def _send(self, release: Release, name: str, path: Path, size: int, sha256: str) -> None:
        def look() -> Asset | None:
            """The file if it arrived; what is left of it is taken away, for it bars the name."""
            found = next((a for a in self.assets(release) if a.name == name), None)
            if found is None or found.is_whole(size, sha256):
                return found
            self.client.delete(self._asset(found))
            return None

        url = f"{release.upload_url.partition('{')[0]}?name={quote(name)}"
        try:
            self.client.upload(url, path, Asset, look=look)
        except Refused as refused:
            if refused.status != 422:
                raise
            # What barred the name is gone now.
            self.client.upload(url, path, Asset, look=look)

    def _path(self, release: Release) -> str:
        return f"{self.repo}/releases/{release.id}"

    def _asset(self, asset: Asset) -> str:
        return f"{self.repo}/releases/assets/{asset.id}"


def asset_name(name: str) -> str:
    """The name that GitHub gives a file: it replaces what it does not like."""
    return re.sub(r"[^A-Za-z0-9_+@-]+", ".", name).strip(".") or "file"


def _kept_banner(old: str, notes: str) -> str:
    """New notes below the banner of a yanked release."""
    if not old.startswith(YANKED):
        return notes
    banner = old[len(YANKED) :].partition(YANKED)[0]
    return cut(f"{YANKED}{banner}{YANKED}\n\n{notes}")
