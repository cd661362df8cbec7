"""``merflow init``: the files of a study to fill in."""

import csv
import io
import os
from pathlib import Path

import click

HEADER = ("clip", "subject", "label", "frames", "onset", "apex", "offset", "fps")
EXAMPLES = (
    ("clip01", "s01", "happiness", "clips/clip01.mp4", "", "", "", ""),
    ("clip02", "s02", "surprise", "clips/clip02", "3", "20", "41", "200"),
)
CONFIG = """\
# A study for merflow. Check it and run it:
#     merflow check {name}.yaml
#     merflow run --config {name}.yaml
# The manual of every key, with all defaults: {manual}

study: {name}  # results/{name}/ receives the report
title: ""                          # heading of the report; empty: the name of the study

datasets:
  {dataset}:
    layout: {layout}
    root: {root}  # {root_means}; relative paths start where you type the command; nothing is written there
{keys}
floors: [majority, linear-svm]     # run beside the experiments on the same clips, to show what they must beat

experiments:
  ststnet:
    system: ststnet                # a small network on optical flow; others: off-apexnet, msjfn, mersiamc3d, tsdgcn
    micro: {dataset}
    protocol: loso                 # leave one subject out | subject-kfold, with `folds`
    seeds: [0, 1, 2]               # repeats with other random numbers
  # tsdgcn:                        # is pre-trained on macro-expressions; synthetic ones if you have none: add
  #   system: tsdgcn               #   synthetic: {{layout: demo, kind: macro}}   under datasets
  #   macro: synthetic
  #   micro: {dataset}
  #   seeds: [0, 1, 2]
"""
MANIFEST_KEYS = """\
    table: manifest.csv            # one row per clip; onset, apex, offset and fps may be empty
    kind: micro
    # classes: [happiness, surprise]     # if left out, all labels of the table
    # align: auto                  # if the pictures are cropped to the face
"""


def complete_layout(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Return the layouts that the shell proposes for what was typed."""
    from merflow.datasets.registry import LAYOUTS

    return [name for name in LAYOUTS if name.startswith(typed)]


@click.command()
@click.argument("name")
@click.option(
    "--layout",
    default="manifest",
    show_default=True,
    shell_complete=complete_layout,
    help="Of the dataset, such as casme2 or samm.",
)
@click.option(
    "--root", type=click.Path(), metavar="FOLDER", help="Of the dataset or your clips; if left out, this one."
)
def init(name: str, layout: str, root: str | None) -> None:
    """Write a study to fill in: NAME.yaml and manifest.csv.

    The table manifest.csv, for clips of your own, gets a row for each video and each folder of images below the folder,
    with the name of the upper folder as subject; fill in the labels. Files that exist are not overwritten.

    \b
    Examples:
      merflow init mine                           clips of your own, in this folder
      merflow init mine --root /data/clips
      merflow init faces --layout samm --root /data/SAMM
    """
    from merflow.datasets.registry import LAYOUTS
    from merflow.errors import InputError
    from merflow.storage.files import atomic_write, safe_filename

    entry = LAYOUTS.get(layout)
    if entry is None or entry.synthetic or entry.kind == "macro":
        micro = [key for key, other in LAYOUTS.items() if not other.synthetic and other.kind != "macro"]
        raise click.BadParameter(f"{layout}; layouts of micro-expressions: {', '.join(micro)}", param_hint="--layout")
    if safe_filename(name) != name:
        raise click.BadParameter(f"{name}: letters, digits, `_`, `.` and `-` are allowed", param_hint="NAME")
    folder = Path(root or ".")
    files = {Path(f"{name}.yaml"): _config(name, layout, folder)}
    if layout == "manifest":
        if not folder.is_dir():
            raise InputError(f"folder {folder} does not exist; name the folder of your clips")
        files[Path("manifest.csv")] = _manifest(folder)
    if existing := [str(file) for file in files if file.exists()]:
        raise InputError(f"{', '.join(existing)} exists and stays as it is; choose another name, or another folder")
    for file, text in files.items():
        with atomic_write(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        click.echo(f"{file} written")
    filled = "fill in subject and label of each row of manifest.csv" if layout == "manifest" else f"read {name}.yaml"
    click.echo(f"Next: {filled}, then: merflow check {name}.yaml")


def _config(name: str, layout: str, folder: Path) -> str:
    """The text of the configuration."""
    from merflow.command.run import workflow_folder
    from merflow.datasets.registry import LAYOUTS

    of_user = layout == "manifest"
    sets = ", ".join(LAYOUTS[layout].class_sets)
    keys = f"    # classes: {sets.split(', ')[0]}   # class sets: {sets}; if left out, all labels\n" if sets else ""
    return CONFIG.format(
        name=name,
        dataset="people" if of_user else layout,
        layout=layout,
        root="." if of_user else folder,
        root_means="folder of the table" if of_user else f"folder of {LAYOUTS[layout].title} as it is distributed",
        keys=MANIFEST_KEYS if of_user else keys,
        manual=workflow_folder() / "config.yaml",
    )


def _manifest(folder: Path) -> str:
    """The text of the table: a row for each clip below ``folder``; two examples if there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_clips(folder) or EXAMPLES)
    return text.getvalue()


def _clips(folder: Path) -> list[tuple[str, ...]]:
    """A row for each video and each folder of images below ``folder``, without those of results and hidden folders."""
    from merflow.footage.frames import image_paths, is_video

    rows: list[tuple[str, ...]] = []
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != "." and Path(path, name) != Path("results"))
        videos = [Path(path, file) for file in sorted(files) if file[0] != "." and is_video(file)]
        for clip in videos or ([Path(path)] if path != str(folder) and image_paths(path) else []):
            parts = clip.relative_to(folder).with_suffix("").parts
            subject = parts[0] if len(parts) > 1 else ""
            rows.append(("_".join(parts), subject, "", clip.as_posix(), "", "", "", ""))
    return rows
