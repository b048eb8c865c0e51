"""What to do with which score: one YAML file, checked whole before any of it is in force."""

from guards.policy.file import Policies, PolicyFile, Source, load, load_file, parse, parse_file, schema
from guards.policy.rules import (
    DEFAULT_POLICY,
    SEVERITY,
    Action,
    Coverage,
    Mode,
    OnError,
    OnLanguage,
    Policy,
    PolicyError,
    Rule,
    Store,
    Uncovered,
    uncovered_cells,
)
from guards.policy.schedule import Overlay, Schedule

__all__ = [
    "DEFAULT_POLICY",
    "SEVERITY",
    "Action",
    "Coverage",
    "Mode",
    "OnError",
    "OnLanguage",
    "Overlay",
    "Policies",
    "Policy",
    "PolicyError",
    "PolicyFile",
    "Rule",
    "Schedule",
    "Source",
    "Store",
    "Uncovered",
    "load",
    "load_file",
    "parse",
    "parse_file",
    "schema",
    "uncovered_cells",
]
