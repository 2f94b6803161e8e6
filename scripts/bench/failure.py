"""What went wrong before anything could be measured."""


class CannotStart(Exception):
    """Something that did not start, does not listen or is missing, in one line."""
