"""`python -m lora_ci`, and what the console script calls."""

import signal

# While modules are loaded nobody is there to say something: Ctrl-C just ends the process.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from lora_ci.cli.main import entry  # noqa: E402

if __name__ == "__main__":
    entry()
