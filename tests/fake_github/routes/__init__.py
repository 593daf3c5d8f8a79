"""All operations that the fake serves."""

from tests.fake_github.routes import (
    actions,
    apps,
    checks,
    contents,
    git_data,
    hooks,
    issues,
    meta,
    pulls,
    releases,
    reviews,
    runners,
    statuses,
)
from tests.fake_github.routing import merged

ROUTES = merged(
    [
        module.routes
        for module in (
            actions,
            apps,
            checks,
            contents,
            git_data,
            hooks,
            issues,
            meta,
            pulls,
            releases,
            reviews,
            runners,
            statuses,
        )
    ]
)
OPERATIONS = {(route.method, route.template) for route in ROUTES.all}
