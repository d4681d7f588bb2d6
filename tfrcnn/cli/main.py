"""`tfrcnn`: all commands, and how errors are reported.

Exit codes: 0 done; 1 the doctor refused the data, or an exported file is out of tolerance; 2 wrong options or input,
reported after "error:" (behind the report on a data set, if there is one), a full or read-only disk too; 3 an exported
file is not judged; 130 interrupted; 141 the reader of the output has gone.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any

import typer

from tfrcnn import __version__
from tfrcnn.cli.benchmark import benchmark
from tfrcnn.cli.console import ReaderGoneError, abandon_streams, console, file_fault
from tfrcnn.cli.convert import convert
from tfrcnn.cli.data import data
from tfrcnn.cli.demo import demo
from tfrcnn.cli.doctor import doctor
from tfrcnn.cli.evaluate import evaluate
from tfrcnn.cli.export import export
from tfrcnn.cli.feed import feed
from tfrcnn.cli.fetch import fetch
from tfrcnn.cli.import_weights import import_weights
from tfrcnn.cli.outputs import check_places
from tfrcnn.cli.predict import predict
from tfrcnn.cli.sending import sending
from tfrcnn.cli.serve import serve
from tfrcnn.cli.train import train
from tfrcnn.cli.versions import versions
from tfrcnn.errors import InputError, LostFeederError
from tfrcnn.installed import check_distribution, missing

# Click's class for wrong options; newer versions of typer bundle a copy of Click
UsageError: Any = typer.BadParameter.__mro__[1]

READER_GONE = 141  # as shells report a program that SIGPIPE ended

app = typer.Typer(
    name="tfrcnn",
    add_completion=False,
    rich_markup_mode=None,  # plain text: the same on a terminal, in a log and in a paper
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(short_help="Train a detector on your boxes; keep the best.")(train)
app.command(short_help="Measure a trained detector on a data set.")(sending(evaluate, "json", "plots", "report"))
app.command(short_help="Detect in pictures.")(sending(predict, "out", new=True))
app.command(short_help="Make a verified file for other runtimes.")(sending(export, "out", new=True))
app.command(short_help="List published versions; go back to the one before.")(versions)
app.command(short_help="Time detectors and exported files side by side.")(sending(benchmark, "out"))
app.command(short_help="Detect over HTTP, with a page to try it.")(serve)
app.command("import-weights", short_help="Start from torchvision's or Detectron2's checkpoint.")(
    sending(import_weights, "out", new=True)
)
app.command(short_help="Report every fault of a data set.")(sending(doctor, "json", "preset_out"))
app.command(short_help="See a data set in one page.")(sending(data, "out", "json"))
app.command(short_help="Write a data set in another format.")(sending(convert, "out", new=True))
app.command(short_help="Feed a training on another machine with images.")(feed)
app.command(short_help="Download a data set of the paper.")(fetch)
app.command(short_help="See all of this at work, offline, in minutes.")(demo)


def _print_version(show: bool) -> None:
    if show:
        print(f"tfrcnn {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train, measure and use a Faster R-CNN detector on your own boxes.

    DATA is the folder that your annotation tool exported (COCO, Pascal VOC, YOLO), FOLDER@split where it has splits, or
    a file: instances.json, data.yaml. `tfrcnn COMMAND --help` explains a command with an example. `tfrcnn demo` shows
    all commands at work within minutes, without your data.

    \b
    From boxes to a detector:
      tfrcnn doctor   --data cells/VOC@train
      tfrcnn train    --train cells/VOC@train --val cells/VOC@val --out runs/cells
      tfrcnn evaluate --model runs/cells --data cells/VOC@test
      tfrcnn predict  --model runs/cells pictures/ --out predictions
      tfrcnn export   --model runs/cells --format onnx --out cells.onnx
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes the arguments of the process.

    Returns:
        The exit code.
    """
    with console():
        try:
            check_distribution()
            check_places(sys.argv[1:] if arguments is None else arguments)
            code: int = app(arguments, prog_name="tfrcnn", standalone_mode=False) or 0
            sys.stdout.flush()
            return code
        except UsageError as error:
            command = error.ctx.command_path if error.ctx else "tfrcnn"
            return _report(f"{error.format_message()} (see {command} --help)")
        except LostFeederError as error:
            _report(_with_flags(str(error)))
            sys.stderr.flush()
            os._exit(2)  # the usual end would wait for threads that wait for the feeder
        except InputError as error:
            return _report(_with_flags(str(error)))
        except (KeyboardInterrupt, typer.Abort):
            return 130
        except ReaderGoneError:
            abandon_streams()
            return READER_GONE
        except ModuleNotFoundError as error:
            package = (error.name or "tfrcnn").partition(".")[0]
            if package == "tfrcnn":  # a fault of this program
                raise
            return _report(missing(package, "this command"))
        except Exception as error:
            fault = file_fault(error)
            if fault is None:
                raise
            return _report(fault)


def _with_flags(message: str) -> str:
    """Write the arguments of Python in a message of the library as the flags of a command."""
    arguments = "data|train|val|images|val.images|verify|representative|feeders|host|port"
    message = re.sub(rf"^(\s*)({arguments}): expected", r"\1--\2: expected", message, flags=re.MULTILINE)
    message = message.replace("--val_images", "--val-images")
    message = message.replace(" (Python: resume=True)", "")  # the flag is before it
    return re.sub(r"\binit=", "--init ", re.sub(r"\bresume=True\b", "--resume", message))


def _report(message: str) -> int:
    try:
        print(f"error: {message}", file=sys.stderr)
        sys.stdout.flush()
    except (OSError, ReaderGoneError):  # the disk under `> file` is full
        abandon_streams()
    return 2


if __name__ == "__main__":
    sys.exit(main())
