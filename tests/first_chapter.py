"""The demo's first chapter, for tests of where its steps can run: the rest trains for minutes."""

from pathlib import Path

from lora_ci.cli.demo import Chapter, Story, check_faults
from lora_ci.cli.demo_repository import DemoRepository
from lora_ci.cli.output import Output


def tell_first_chapter(folder: Path, executor: str) -> Chapter:
    """A dataset with faults, in a repository below `folder`."""
    repository = DemoRepository(folder)
    story = Story(repository, Output(json=False, quiet=True), executor)
    repository.set_up()
    base = repository.branch("first-datasets")
    story.pull_requests = 1
    story.pull_request("faults", repository.bring_faulty_datasets, base, check_faults)
    return story.chapters[0]
