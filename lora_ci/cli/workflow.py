"""The workflows that `lora-ci init --github` and `--steps` write."""

from __future__ import annotations

import json
import re

FILE = ".github/workflows/lora-ci.yml"
# Where lora-ci is, at which commit: an installed package knows neither.
PLACE = "OWNER/lora-ci/.github/workflows/loras.yml@COMMIT"
TEXT = """\
name: loras
on:
  push:
    branches: [main]
    tags: ["*@v*"]             # mei@v1.2.0 releases
  pull_request:
    types: [opened, synchronize, reopened, closed]
  issue_comment: # zizmor: ignore[dangerous-triggers] /lora-ci help; nothing of a head is run
    types: [created]
  workflow_dispatch:
permissions: {}
concurrency:
  # A newer push to a pull request, closing it, or `/lora-ci cancel` ends its run.
  group: loras-${{
    github.event.pull_request.number ||
    startsWith(github.event.comment.body, '/lora-ci cancel') &&
    contains(fromJSON('["OWNER", "MEMBER", "COLLABORATOR"]'),
    github.event.comment.author_association) && github.event.issue.number ||
    github.run_id }}
  cancel-in-progress: true
jobs:
  loras:
    uses: OWNER/lora-ci/.github/workflows/loras.yml@COMMIT
    with:
      runner: '["self-hosted", "lora"]'  # labels of the machine with the GPU
      planner: '"ubuntu-latest"'         # plans, validates what forks send, reports
    permissions:
      actions: read            # what earlier runs made
      checks: write            # the verdict on the commit
      contents: write          # records on refs/lora-ci/records, pictures, releases
      pull-requests: write     # the comment, answers to commands
"""

STEP_FILE = ".github/workflows/lora-ci-step.yml"
STEP_PLACE = "OWNER/lora-ci/.github/workflows/step.yml@COMMIT"
STEP_TEXT = """\
name: lora-ci step
run-name: lora-ci ${{ inputs.key }}   # lora-ci finds its runs by this
on:
  workflow_dispatch:
    inputs:
      key: {description: Names the attempt, type: string, required: true}
      asked: {description: What the run is about, type: string, required: true}
      lora: {description: The LoRA, type: string, required: true}
      stage: {description: The stage, type: string, required: true}
permissions: {}
jobs:
  step:
    uses: OWNER/lora-ci/.github/workflows/step.yml@COMMIT
    with:
      key: ${{ inputs.key }}
      asked: ${{ inputs.asked }}
      lora: ${{ inputs.lora }}
      stage: ${{ inputs.stage }}
      runner: '["self-hosted", "lora"]'  # labels of the machines with the GPUs
    permissions:
      actions: read            # what earlier jobs made
      checks: read             # `policy.required_checks`
      contents: read           # commits, records on refs/lora-ci/records
      statuses: read           # `policy.required_checks`
"""


def written_for(branch: str | None) -> str:
    """The workflow of a repository whose default branch has that name; None: it is not known."""
    if branch is None:
        return TEXT
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9/_.-]*", branch)
    return TEXT.replace("[main]", f"[{branch if plain else json.dumps(branch)}]", 1)
