"""lora-ci, but for its stages before `deploy`, which are toys that pass at once."""

import sys

from lora_ci.__main__ import entry
from lora_ci.core.step import Stage
from lora_ci.steps import table

assert isinstance(table.TABLE, dict)
table.TABLE.update({stage: "tests.deploy.toy:run" for stage in Stage if stage is not Stage.DEPLOY})
sys.exit(entry())
