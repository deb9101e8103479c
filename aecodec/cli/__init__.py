"""The command line: parse, call, print. Commands are imported only when they run."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module

import click

from .. import __version__
from ..contracts import AecodecError

#: command -> (module, attribute, one line for --help). Kept here so that --help imports no command.
COMMANDS = {
    "compress": ("compress", "compress", "Picture files to .aec files."),
    "decompress": ("compress", "decompress", "Files of .aec back to pictures."),
    "info": ("inspect", "info", "What a file's header says."),
    "verify": ("inspect", "verify", "Check every checksum of .aec files."),
    "compare": ("inspect", "compare", "PSNR and MS-SSIM between two pictures."),
    "models": ("models", "models", "List, show, locate, export and import models."),
    "train": ("train", "train", "Train a model of any family."),
    "restore": ("restore", "restore", "Denoise, inpaint, upscale or colourise a picture; denoise a recording."),
    "sample": ("sample", "sample", "Pictures drawn from a variational autoencoder."),
    "anomaly": ("anomaly", "anomaly", "Fit and use detectors of what is unlike the normal."),
    "probe": ("probe", "probe", "What a classifier can read from a model's code."),
    "bench": ("bench", "bench", "Rate-distortion curves of codecs over a folder of pictures."),
    "report": ("bench", "report", "A page, table or plot of benchmark runs."),
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
    """Run a command line and exit with its code. Every expected fault is one line on stderr."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command line -> exit code."""
    try:
        result = root.main(arguments, prog_name="aecodec", standalone_mode=False)
    except AecodecError as error:
        return fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return fail("interrupted", INTERRUPTED)
    except click.ClickException as error:
        return fail(error.format_message(), error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return fail("this command needs torch: pip install 'aecodec[torch]'", 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            return fail(str(error), 1)
        raise
    return result if isinstance(result, int) else 0


def fail(message: str, code: int) -> int:
    """Print one line on stderr -> the code."""
    click.echo(f"aecodec: error: {' '.join(message.split())}", err=True)
    return code
