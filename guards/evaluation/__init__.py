"""How good a guard is on labelled texts, beside a lexical floor and another guard. Needs the `evaluation` extra."""
