"""lora-ci: continuous integration for LoRA adapters.

Data flows one way: event → config → changes → plan → ledger → execution → steps → ledger →
report → forge. `lora_ci.app.handle` tells the flow; ARCHITECTURE.md is the map of the rooms.
"""

__version__ = "0.1.0"
