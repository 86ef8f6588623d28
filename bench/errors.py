"""What can go wrong in a run; each message is for the person who started it.

BenchError              the run cannot be trusted, or did not take place: exit 1
└── ToolMissingError         a program that the bench needs is not installed: exit 2
"""


class BenchError(Exception):
    """Say why the run has no result."""


class ToolMissingError(BenchError):
    """Say which program is missing and what installs it."""
