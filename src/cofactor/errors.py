"""Typed errors and warnings. Each message is one paragraph: what is wrong, where, and what to do."""

from __future__ import annotations


def shorten(value: object, limit: int = 60) -> str:
    """``repr(value)``, cut in the middle where it is long, for use in a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 20]}…{text[-8:]} ({len(text):,} characters)"


def first_sentence(text: str) -> str:
    """What another library says, short enough for a message: its first line, without its kind of error."""
    line = next(iter(text.strip().splitlines()), "")
    for _ in range(2):
        kind, colon, rest = line.partition("Error: ")
        line = rest if colon and kind.replace(" ", "").isalpha() else line
    return "".join(c if c.isprintable() else " " for c in line)[:200].rstrip(". ")


class CofactorError(Exception):
    """Any error that cofactor raises on purpose. ``exit_code`` is what the command ends with."""

    exit_code = 1


class BadParameter(CofactorError, ValueError):
    """A parameter is out of its range or of the wrong kind."""

    exit_code = 2


class BadData(CofactorError, ValueError):
    """Something read from outside is not what it should be."""

    exit_code = 3


class BadRatings(BadData):
    """A ratings table cannot be used as it is."""


class BadModel(BadData):
    """A model folder is missing, damaged, tampered with, or of a later version."""


class BadDataset(BadData):
    """A dataset folder is missing, damaged, mixed with another, or of a later version."""


class UnknownUser(BadData, LookupError):
    """A user id that the model does not know."""


class UnknownItem(BadData, LookupError):
    """An item id that the model does not know."""


class NotFitted(CofactorError, AttributeError):
    """The model has to be fitted first."""


class NotSupported(CofactorError, NotImplementedError):
    """The model cannot do this, by its nature."""


class SingularSystem(CofactorError, ArithmeticError):
    """A row has no unique solution: the regularization is too small for it."""


class LeakWarning(UserWarning):
    """A model would be tested on ratings given before some that it has learnt from."""
