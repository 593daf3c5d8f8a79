#!/bin/bash
# For ACTIONS_RUNNER_HOOK_JOB_STARTED; see docs/runners.md.
exec /usr/bin/env python3 -E -s "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../hook.py" started
