"""`python -m lora_ci`."""

from lora_ci.cli.main import entry

if __name__ == "__main__":
    entry()
