"""The ``spine`` command: what a person types. Nothing imports this package."""
