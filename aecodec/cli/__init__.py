"""The command line: parse, call, print. Commands are imported only when they run."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module

import click

from .. import __version__
from ..contracts import AecodecError, MissingDependencyError, UnexpectedError
from .output import fail, say, warnings_as_notices

#: command -> (module, attribute, one line for --help). Kept here so that --help imports no command.
COMMANDS = {
    "compress": ("compress", "compress", "Picture files to .aec files."),
    "decompress": ("compress", "decompress", "Files of .aec back to pictures."),
    "info": ("inspect", "info", "What a file's header says."),
    "verify": ("inspect", "verify", "Check every checksum of .aec files."),
    "compare": ("inspect", "compare", "PSNR and MS-SSIM between two pictures."),
    "view": ("view", "view", "Show .aec files and folders of them in the browser."),
    "web": ("web", "web", "A folder of .aec files as a site that any web server can serve."),
    "models": ("models", "models", "List, show, locate, export and import models."),
    "train": ("train", "train", "Train a model of any family."),
    "restore": ("restore", "restore", "Denoise, inpaint, upscale or colourise a picture; denoise a recording."),
    "sample": ("sample", "sample", "Pictures drawn from a variational autoencoder."),
    "anomaly": ("anomaly", "anomaly", "Fit and use detectors of what is unlike the normal."),
    "probe": ("probe", "probe", "What a classifier can read from a model's code."),
    "bench": ("bench", "bench", "Rate-distortion curves of codecs over a folder of pictures."),
    "report": ("bench", "report", "A page, table or plot of benchmark runs."),
    "flip": ("flip", "flip", "A page to compare codecs by eye, at one file size, openly or blind."),
    "index": ("index", "index", "Build, add to, sync and look at indexes of pictures."),
    "search": ("search", "search", "Pictures of an index that look like a picture."),
    "dedup": ("dedup", "dedup", "Groups of pictures that are nearly the same."),
    "doctor": ("doctor", "doctor", "Check this machine: packages, devices, exactness."),
}
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command = getattr(import_module(f"{__name__}.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="aecodec")
def root() -> None:
    """A learned image codec: small files that decode to the same latents on every device."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit with its code. Every fault is one line on stderr."""
    _hold_standard_streams()
    sys.exit(run(arguments))


def _hold_standard_streams() -> None:
    """Take the places of standard streams that are closed; the next file to be opened would get them otherwise, and
    with it what libraries print."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def run(arguments: list[str] | None = None) -> int:
    """Run a command line -> exit code."""
    try:
        with warnings_as_notices():
            result = root.main(arguments, prog_name="aecodec", standalone_mode=False)
    except AecodecError as error:
        return fail(error)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _told("interrupted", INTERRUPTED)
    except click.ClickException as error:
        # A choice among many is told on several lines.
        return _told(" ".join(error.format_message().split("\n\t")), error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does. Keep Python from complaining at exit.
        with contextlib.suppress(AttributeError, OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if error.name != "torch":
            return fail(UnexpectedError.of(error))
        return fail(MissingDependencyError("this command needs torch: pip install 'aecodec[torch]'"))
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # as a panic of Rust; a command of several inputs has caught what belongs to one
        return fail(UnexpectedError.of(error))
    return result if isinstance(result, int) else 0


def _told(message: str, code: int) -> int:
    say(f"aecodec: error: {message}", err=True)
    return code
