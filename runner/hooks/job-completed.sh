#!/bin/bash
# For ACTIONS_RUNNER_HOOK_JOB_COMPLETED; see docs/runners.md.
exec /usr/bin/env python3 -E -s "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../hook.py" completed
