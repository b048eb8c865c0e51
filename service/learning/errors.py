"""What may go wrong with learning."""


class LearningError(Exception):
    """What was asked cannot be done as things are. The message says what to do."""


class Unknown(LearningError):
    """There is no such dataset, run or version."""
