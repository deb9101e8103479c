"""The tree of errors: whatever goes wrong with what people gave is one of these, in one line of their words."""

from __future__ import annotations

import errno


class AecodecError(Exception):
    """Base of every error that this package raises on purpose. ``exit_code`` is the command line's."""

    exit_code = 1


class ImageReadError(AecodecError):
    """An input picture is missing, unreadable, truncated, of absurd size, or no picture at all."""


class UnavailableError(ImageReadError):
    """An input is missing, or the system does not let it be read: nothing is known of what is in it."""


class PictureTooLargeError(ImageReadError):
    """A picture has more pixels than Image.MAX_IMAGE_PIXELS allows, be it of an .aec file or any other. A row counts as
    16 pixels at least."""


class OutputError(AecodecError):
    """An output could not be written (no space, no permission, a directory in the way)."""


class OutputExistsError(OutputError):
    """The output exists and overwriting it was not asked for."""

    exit_code = 5


class BusyError(OutputError):
    """Another process is writing the same file, and went on for longer than was to be waited."""

    exit_code = 7


class UsageError(AecodecError):
    """The arguments contradict each other or name something out of range."""

    exit_code = 2


class BitstreamError(AecodecError):
    """An .aec file is damaged: a checksum, a length or a declared size is wrong."""

    exit_code = 3


class TruncatedError(BitstreamError):
    """An .aec file ends before its declared content does."""


class UnsupportedVersionError(BitstreamError):
    """An .aec file is of a newer format version, or holds a critical chunk this version does not know."""

    exit_code = 4


class CheckpointError(AecodecError):
    """A checkpoint is missing, damaged, of an unknown family, or unfit for exact coding."""

    exit_code = 4


class ModelMismatchError(CheckpointError):
    """An .aec file was written with another model than the one at hand (fingerprints differ)."""


class IndexFileError(AecodecError):
    """A Hamming index file is damaged or was built with another hasher."""

    exit_code = 3


class UnsupportedIndexError(IndexFileError):
    """A Hamming index file is of a newer format version."""

    exit_code = 4


class ServerError(AecodecError):
    """A server cannot be reached, refuses us, or fails while it is asked."""


class LogError(AecodecError):
    """A log or a list of dedup is missing, damaged, or none."""

    exit_code = 3


class UnknownName(AecodecError):
    """A family, model, metric, codec or index backend of that name does not exist."""

    exit_code = 2


class TargetUnreachableError(AecodecError):
    """No quality of the model meets the asked size, rate or PSNR."""

    exit_code = 6


class ClusterError(AecodecError):
    """There is no cluster, its workers cannot do the work as this process would, or it failed."""


class MissingDependencyError(AecodecError):
    """An optional package is needed for this and is not installed."""


#: How libraries, in small letters, say that the system gave them no memory or no thread.
_SHORTAGE = (
    "cannot allocate memory",
    "failed to map segment",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "out of memory",
)


class OutOfMemoryError(AecodecError):
    """The system gave no more memory, or no more threads."""

    @classmethod
    def below(cls, fault: BaseException) -> OutOfMemoryError | None:
        """What is to be said instead of an exception if a lack of memory is what caused it; else None.

        Libraries tell of it as missing packages, damaged files or faults of their own.
        """
        cause: BaseException | None = fault
        for _ in range(10):
            if cause is None:
                break
            told = "" if isinstance(cause, (OSError, AecodecError)) else str(cause).lower()
            if (
                isinstance(cause, (MemoryError, OutOfMemoryError))
                or getattr(cause, "errno", None) == errno.ENOMEM
                or any(words in told for words in _SHORTAGE)
            ):
                reason = " ".join(str(cause).split())[:200] or type(cause).__name__
                error = cls(f"not enough memory ({reason})")
                error.__cause__ = fault
                return error
            cause = cause.__cause__ or cause.__context__
        return None


class UnexpectedError(AecodecError):
    """What nothing here foresaw, with its type and its words; the exception itself is the ``__cause__``."""

    @classmethod
    def of(cls, fault: BaseException) -> UnexpectedError | OutOfMemoryError:
        """Any exception, told in words; those of the system have words of their own, and so has a lack of memory."""
        if (shortage := OutOfMemoryError.below(fault)) is not None:
            return shortage
        unnamed = f"unexpected {type(fault).__name__}" + (f" ({fault})" if str(fault) else "")
        error = cls(str(fault) if isinstance(fault, OSError) else unnamed)
        error.__cause__ = fault
        return error


def error_of(name: str, fault: Exception, *others: str) -> AecodecError:
    """What went wrong with one input as an error that begins with its name; an `UnexpectedError` if it is none of ours.

    others: names that an error may begin with instead, as that of the output. Whatever works through several inputs
    catches Exception around each of them and keeps what this makes of it.
    """
    error = fault if isinstance(fault, AecodecError) else UnexpectedError.of(fault)
    if str(error).startswith(tuple(f"{known}: " for known in (name, *others))):
        return error
    named = type(error)(f"{name}: {error}")
    named.__cause__ = error.__cause__
    return named
