"""Releases and their files."""

import hashlib
import re
from typing import Any

from tests.fake_github.call import Answer, Call, Refusal, invalid, not_found
from tests.fake_github.routing import Routes
from tests.fake_github.shapes import Shape, Shapes, node_id
from tests.fake_github.spec import complete
from tests.fake_github.state import Asset, Release, Repo

routes = Routes()
RELEASES = "/repos/{owner}/{repo}/releases"
BODY_LIMIT = 125_000


@routes.operation("GET", RELEASES, "contents:read")
def list_releases(call: Call) -> Answer:
    found = [r for r in reversed(call.repo.releases.values()) if not r.draft or _sees_drafts(call)]
    return call.page(found, lambda r: release_shape(call.shapes, call.repo, r))


@routes.operation("GET", RELEASES + "/latest", "contents:read")
def latest_release(call: Call) -> Answer:
    found = [r for r in call.repo.releases.values() if not r.draft and not r.prerelease]
    if not found:
        raise not_found()
    return Answer(
        200, release_shape(call.shapes, call.repo, max(found, key=lambda r: (r.created, r.id)))
    )


@routes.operation("GET", RELEASES + "/tags/{tag}", "contents:read")
def release_of_tag(call: Call) -> Answer:
    for release in call.repo.releases.values():
        if release.tag == call.params["tag"] and not release.draft:
            return Answer(200, release_shape(call.shapes, call.repo, release))
    raise not_found()


@routes.operation("GET", RELEASES + "/{release_id}", "contents:read")
def get_release(call: Call) -> Answer:
    return Answer(200, release_shape(call.shapes, call.repo, _release(call)))


@routes.operation("POST", RELEASES, "contents:write")
def create_release(call: Call) -> Answer:
    asked = call.json()
    release = Release(
        id=call.hub.new_id(),
        tag=str(asked["tag_name"]),
        target=asked.get("target_commitish") or call.repo.default_branch,
        name=asked.get("name"),
        body=asked.get("body"),
        draft=True,
        prerelease=bool(asked.get("prerelease")),
        login=call.login,
        created=call.hub.now(),
    )
    _check_text(release.body)
    if not asked.get("draft"):
        _publish(call, release)
    call.repo.releases[release.id] = release
    shape = release_shape(call.shapes, call.repo, release)
    return Answer(201, shape, {"Location": shape["url"]})


@routes.operation("PATCH", RELEASES + "/{release_id}", "contents:write")
def update_release(call: Call) -> Answer:
    release = _release(call)
    asked = call.json()
    fixed = {"tag_name": release.tag, "target_commitish": release.target}
    if release.immutable and any(asked.get(k, v) != v for k, v in fixed.items()):
        raise Refusal(422, "Cannot change the tag of an immutable release.")
    _check_text(asked.get("body"))
    for key, name in (("tag_name", "tag"), ("target_commitish", "target")):
        if asked.get(key):
            setattr(release, name, asked[key])
    for name in ("name", "body", "prerelease"):
        if asked.get(name) is not None:
            setattr(release, name, asked[name])
    if release.draft and asked.get("draft") is False:
        _publish(call, release)
    elif not release.draft and asked.get("draft") and not release.immutable:
        release.draft, release.published = True, None
    return Answer(200, release_shape(call.shapes, call.repo, release))


@routes.operation("DELETE", RELEASES + "/{release_id}", "contents:write")
def delete_release(call: Call) -> Answer:
    del call.repo.releases[_release(call).id]
    return Answer(204)


@routes.operation("GET", RELEASES + "/{release_id}/assets", "contents:read")
def list_assets(call: Call) -> Answer:
    release = _release(call)
    return call.page(release.assets, lambda a: asset_shape(call.shapes, call.repo, release, a))


@routes.operation("POST", RELEASES + "/{release_id}/assets", "contents:write")
def upload_asset(call: Call) -> Answer:
    release = _release(call)
    if release.immutable:
        raise Refusal(422, "Cannot upload assets to an immutable release.")
    name = re.sub(r"[^A-Za-z0-9._@+-]+", ".", call.query["name"])  # GitHub renames what it dislikes
    if any(asset.name == name for asset in release.assets):
        raise invalid("ReleaseAsset", "name", "already_exists")
    if not call.data:
        raise Refusal(400, "Bad Content-Length: 0")
    asset = Asset(
        id=call.hub.new_id(),
        name=name,
        label=call.query.get("label"),
        content_type=call.headers.get("content-type", "application/octet-stream"),
        data=call.data,
        login=call.login,
        created=call.hub.now(),
    )
    release.assets.append(asset)
    return Answer(201, asset_shape(call.shapes, call.repo, release, asset))


@routes.operation("GET", RELEASES + "/assets/{asset_id}", "contents:read")
def get_asset(call: Call) -> Answer:
    release, asset = _asset(call)
    if "octet-stream" in call.headers.get("accept", ""):
        asset.downloads += 1
        at = f"{call.hub.web_url}/api/downloads/assets/{call.repo.id}/{asset.id}"
        return Answer(302, None, {"Location": at})
    return Answer(200, asset_shape(call.shapes, call.repo, release, asset))


@routes.operation("DELETE", RELEASES + "/assets/{asset_id}", "contents:write")
def delete_asset(call: Call) -> Answer:
    release, asset = _asset(call)
    if release.immutable:
        raise Refusal(422, "Cannot delete assets of an immutable release.")
    release.assets.remove(asset)
    return Answer(204)


def _publish(call: Call, release: Release) -> None:
    """Makes a release seen, and its tag where there is none and the target is known."""
    taken = [r for r in call.repo.releases.values() if r.tag == release.tag and not r.draft]
    if any(r.id != release.id for r in taken):
        raise invalid("Release", "tag_name", "already_exists")
    if call.repo.git_dir is not None:
        store = call.hub.store(call.repo)
        ref = f"refs/tags/{release.tag}"
        target = store.resolve(release.target)
        if ref not in store.refs("refs/tags/"):
            if target is None:
                raise invalid("Release", "target_commitish", "invalid")
            store.set_ref(ref, target)
    release.draft = False
    release.published = call.hub.now()
    release.immutable = call.repo.immutable_releases


def _check_text(body: Any) -> None:
    if isinstance(body, str) and len(body) > BODY_LIMIT:
        raise invalid(
            "Release", "body", "custom", "body is too long (maximum is 125000 characters)"
        )


def _sees_drafts(call: Call) -> bool:
    token = call.token
    if token is None:
        return False
    return token.may("contents", "write") if token.is_app else call.repo.may(token.login, "write")


def _release(call: Call) -> Release:
    release = call.repo.releases.get(call.number("release_id"))
    if release is None or (release.draft and not _sees_drafts(call)):
        raise not_found()
    return release


def _asset(call: Call) -> tuple[Release, Asset]:
    wanted = call.number("asset_id")
    for release, asset in call.repo.assets():
        if asset.id == wanted and (not release.draft or _sees_drafts(call)):
            return release, asset
    raise not_found()


def release_shape(shapes: Shapes, repo: Repo, release: Release) -> Shape:
    url = f"{shapes.repo_url(repo)}/releases/{release.id}"
    upload = url.replace(shapes.api, f"{shapes.hub.web_url}/api/uploads", 1)
    tag = f"untagged-{release.id:x}" if release.draft else release.tag
    return complete(
        "release",
        {
            "id": release.id,
            "node_id": node_id("RE", release.id),
            "tag_name": release.tag,
            "target_commitish": release.target,
            "name": release.name,
            "body": release.body,
            "draft": release.draft,
            "prerelease": release.prerelease,
            "immutable": release.immutable,
            "author": shapes.user(release.login),
            "url": url,
            "html_url": f"{shapes.web(repo)}/releases/tag/{tag}",
            "assets_url": f"{url}/assets",
            "upload_url": f"{upload}/assets{{?name,label}}",
            "created_at": shapes.hub.stamp(release.created),
            "published_at": shapes.hub.stamp(release.published) if release.published else None,
            "assets": [asset_shape(shapes, repo, release, asset) for asset in release.assets],
        },
    )


def asset_shape(shapes: Shapes, repo: Repo, release: Release, asset: Asset) -> Shape:
    return complete(
        "release-asset",
        {
            "id": asset.id,
            "node_id": node_id("RA", asset.id),
            "name": asset.name,
            "label": asset.label,
            "content_type": asset.content_type,
            "size": len(asset.data),
            "digest": f"sha256:{hashlib.sha256(asset.data).hexdigest()}",
            "state": asset.state,
            "download_count": asset.downloads,
            "uploader": shapes.user(asset.login),
            "url": f"{shapes.repo_url(repo)}/releases/assets/{asset.id}",
            "browser_download_url": (
                f"{shapes.web(repo)}/releases/download/{release.tag}/{asset.name}"
            ),
            "created_at": shapes.hub.stamp(asset.created),
            "updated_at": shapes.hub.stamp(asset.created),
        },
    )
