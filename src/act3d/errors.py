"""The few errors that act3d raises on purpose; the command line prints each as one line."""

from collections.abc import Iterable


class Act3dError(Exception):
    """Base of every error that is meant for the user."""


class InputError(Act3dError, ValueError):
    """Data or an argument that cannot be used: says what, where, and what is allowed."""


class NoSplit(InputError):
    """A dataset has no such split; `known` are those that it has."""

    def __init__(self, dataset: str, name: str, known: Iterable[str]):
        self.known = list(known)
        super().__init__(dataset, name, self.known)  # what it is made of again in another process

    def __str__(self) -> str:
        dataset, name, known = self.args
        return f"{dataset} has no split {name!r}; it has {', '.join(known)} (join them by +)"


class ConfigError(Act3dError, ValueError):
    """A setting out of its bounds: names the key, the value and what is allowed."""


class CheckpointError(Act3dError):
    """A weights file that cannot be read, or does not fit the model."""


class OutOfSpace(Act3dError, OSError):
    """The disk is full: names the file that could not be written."""


class LostProcess(Act3dError):
    """Another process of the same run has ended, or cannot be reached: says what to do."""


class MissingDependency(Act3dError, ImportError):
    """An optional package or a file that is needed and missing: says how to get it."""


def reason_of(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
