"""The workflow that `lora-ci init --github` writes."""

FILE = ".github/workflows/lora-ci.yml"
ACTION = "OWNER/lora-ci@COMMIT"
TEXT = """\
name: loras
on:
  push:
    branches: [main]
    tags: ["*@v*"]           # mei@v1.2.0 releases
  pull_request:
permissions:
  contents: read
jobs:
  loras:
    runs-on: [self-hosted, lora]      # where the DVC remote's folder is mounted
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          ref: ${{ github.event.pull_request.base.sha || github.sha }}
          fetch-depth: 0
          persist-credentials: false  # only a private repository with forks needs them
          clean: false                # keeps .lora-ci/: records, checkpoints, caches
      - uses: OWNER/lora-ci@COMMIT
"""
