"""``merflow score`` and ``merflow corrections``: tables in, tables out; no workflow runs."""

import json
import sys
from pathlib import Path

import click

from merflow.command.init import complete_layout


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path), required=False)
@click.option("--videos", type=click.Path(path_type=Path), help="With TRUTH: all videos: video, first, last, fps.")
@click.option("--classes", metavar="A,B,C", help="Names of the classes; if left out, all that occur.")
@click.option("--resamples", type=click.IntRange(1), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with values of each class and confusion counts.")
def score(
    predictions: Path,
    truth: Path | None,
    videos: Path | None,
    classes: str | None,
    resamples: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compute the scores of a table of predictions.

    They are accuracy, UF1 and UAR. The table has the columns truth and predicted. With subject, the scores have 95 %
    intervals over people; with experiment, repeat, fold or dataset they are given for each. Given the folder of a
    study, or its bundle.zip, all its tables of scores are computed again and compared; the exit code is 1 if a number
    differs.

    With TRUTH, they are F1 and STRS of intervals in long videos: both tables have the columns video, onset and offset,
    and optional ones (docs/spotting.md).

    \b
    Examples:
      merflow score results/demo/predictions.csv
      merflow score results/demo/bundle.zip
      merflow score mine.csv --classes negative,positive,surprise --json
      merflow score detections.csv truth.csv --videos videos.csv
    """
    if videos and not truth:
        raise click.UsageError("--videos needs the table of true intervals, TRUTH")
    if truth:
        from merflow.evaluation.spotting_scores import score_intervals, text
        from merflow.storage.files import json_value

        named = [name.strip() for name in classes.split(",")] if classes else None
        rows = score_intervals(predictions, truth, videos, named, resamples, seed)
        click.echo(json.dumps(json_value(rows), indent=2, allow_nan=False) if as_json else text(rows))
    else:
        from merflow.evaluation.score_table import main

        options = ["--classes", classes] if classes else []
        options += ["--resamples", str(resamples), "--seed", str(seed), *(["--json"] if as_json else [])]
        sys.exit(main([str(predictions), *options]))


@click.command()
@click.argument("layout", shell_complete=complete_layout)
@click.argument("root", required=False, type=click.Path())
@click.option("--table", help="The workbook, relative to the folder, if there are several.")
@click.option("--output", type=click.Path(), default="corrections.csv", show_default=True, help="Table to write.")
@click.option("--excluded", is_flag=True, help="List the clips that a publication excludes, too.")
def corrections(layout: str, root: str | None, table: str | None, output: str, excluded: bool) -> None:
    """Write the known errors of a dataset as a table.

    LAYOUT is the dataset, such as casme3-a, and ROOT its folder, whose workbook is compared. Read the table, delete
    what you reject, and name it in the configuration: corrections: corrections.csv

    \b
    Examples:
      merflow corrections casme3-a
      merflow corrections samm /data/SAMM --output samm.csv
    """
    from merflow.datasets.corrections import write_known_errors
    from merflow.datasets.registry import LAYOUTS

    if layout not in LAYOUTS:
        raise click.BadParameter(f"{layout}; known: {', '.join(LAYOUTS)}", param_hint="LAYOUT")
    count = write_known_errors(layout, output, root, table, excluded)
    click.echo(f"{output}: {count} proposals; read them, delete what you reject, name the file in `corrections`")
