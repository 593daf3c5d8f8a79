"""A step for tests: does what its parameters say."""

import os
import signal
import time

from lora_ci.core.errors import InfrastructureError, InputError, Interrupted
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec


def run(spec: StepSpec, context: StepContext) -> StepResult:
    counter = context.workdir / "calls"
    calls = int(counter.read_text()) + 1 if counter.exists() else 1
    counter.write_text(str(calls))
    match spec.params.get("do"):
        case "fail":
            raise InputError("the input is wrong")
        case "break":
            raise InfrastructureError("the network is gone")
        case "crash":
            raise ZeroDivisionError
        case "full":
            raise OSError(28, "No space left on device")
        case "die-once" if calls == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            for i in range(600):
                context.progress(i, 600, "waiting")
                if context.stop_requested():
                    raise Interrupted("stopped")
                time.sleep(0.05)
    (context.workdir / "out").write_text("made")
    artifact = context.keep("out.txt", context.workdir / "out", "text/plain")
    return StepResult(
        outcome=Outcome.PASSED, artifacts=(artifact,), metrics={"calls": float(calls)}
    )
