"""The page of a study's experiments in long videos: scores, the curve, timelines, and frames of hits and errors."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context

from merflow.errors import MerflowError
from merflow.evaluation.interval_metrics import ALL, RATES, match_tables
from merflow.footage.bit_depth import bits_in_use, largest_values
from merflow.footage.clip import Clip
from merflow.footage.frames import grey_frames
from merflow.inference.settings import SpottingPage
from merflow.report.formats import templates
from merflow.report.images import picture
from merflow.report.svg import (
    FIRST,
    INK,
    MUTED,
    RULE,
    SECOND,
    STYLE,
    make_axes,
    page_svg,
    plain_axes,
    short,
    style_sheet,
)
from merflow.runtime.summary import SYNTHETIC_MARK
from merflow.storage.files import atomic_write
from merflow.storage.tables import (
    AUDIT,
    CANDIDATES,
    DETECTIONS,
    LONG_VIDEOS,
    SPOTTING_CURVE,
    SPOTTING_METRICS,
    TRUE_INTERVALS,
    read_table,
)

log = logging.getLogger(__name__)

MAX_VIDEOS = 60
"""Videos whose timeline is drawn, those with the most expressions and detections first."""
EXAMPLES = 6
"""Hits, misses and false alarms of each experiment whose frames are shown, the strongest first."""
_OUTCOMES = {"hit": "Hits", "false alarm": "False alarms", "miss": "Misses"}
_LINES = ("-", "--", ":", "-.")


@dataclass
class SpottedTables:
    """The tables of a study; those of detections and candidates by experiment, with the column ``outcome``.

    Detections have ``truth``, the label of the expression that they hit. ``audits`` say who recognised whom.
    """

    videos: pd.DataFrame
    truth: pd.DataFrame
    metrics: pd.DataFrame
    curve: pd.DataFrame
    detections: dict[str, pd.DataFrame]
    candidates: dict[str, pd.DataFrame]
    misses: dict[str, pd.DataFrame]
    audits: dict[str, pd.DataFrame]


def write_spotting_page(settings: SpottingPage, inputs: Mapping[str, Any], output: Path) -> None:
    """Write the page.

    ``inputs`` are ``videos, truth, metrics, curve``, and by experiment ``detections``, ``candidates`` (of those that
    spot) and ``audits`` (of those that recognise).

    Raises:
        InputError: a table is missing or damaged.
    """
    tables = _read(settings, inputs)
    here = Path(__file__).parent
    examples = [_examples(name, tables) for name in tables.detections]
    with rc_context(STYLE):
        content = {
            "scores": _scores(tables.metrics, settings),
            "published": _published(settings),
            "curves": _curves(tables.curve, tables.metrics),
            "timelines": _timelines(settings, tables),
            "recognised": [_recognised(name, settings, tables) for name in tables.audits],
            "examples": examples,
            "pictures": _pictures(examples, settings),
        }
    page = templates(here).get_template("spotting_page.html.j2")
    mark = SYNTHETIC_MARK if settings.synthetic else ""
    html = page.render(settings=settings, tables=tables, mark=mark, style=style_sheet(), **content)
    with atomic_write(output) as temporary:
        temporary.write_text(html + "\n", encoding="utf-8")


def _read(settings: SpottingPage, inputs: Mapping[str, Any]) -> SpottedTables:
    """Read all tables, and mark each detection as a hit or a false alarm."""
    videos, truth = read_table(inputs["videos"], LONG_VIDEOS), read_table(inputs["truth"], TRUE_INTERVALS)
    detections, misses = {}, {}
    for name, file in zip(settings.experiments, inputs["detections"], strict=True):
        table, kinds = read_table(file, DETECTIONS), settings.experiments[name].kinds
        true = truth[truth["dataset"].isin(settings.experiments[name].datasets) & truth["kind"].isin(kinds)]
        pairs = match_tables(true, table)
        table["truth"] = pd.Series(true["label"].loc[pairs["truth"]].to_numpy(), pairs["spotted"], dtype=object)
        table["outcome"] = np.where(table.index.isin(pairs["spotted"]), "hit", "false alarm")
        detections[name], misses[name] = (
            table,
            true[~true.index.isin(pairs["truth"])].assign(outcome="miss", score=math.nan),
        )
    candidates = dict(zip(settings.spotters, (read_table(f, CANDIDATES) for f in inputs["candidates"]), strict=True))
    recognisers = [name for name in settings.experiments if name not in settings.spotters]
    audits = dict(zip(recognisers, (read_table(f, AUDIT) for f in inputs.get("audits", [])), strict=True))
    metrics, curve = read_table(inputs["metrics"], SPOTTING_METRICS), read_table(inputs["curve"], SPOTTING_CURVE)
    return SpottedTables(videos, truth, metrics, curve, detections, candidates, misses, audits)


def _scores(metrics: pd.DataFrame, settings: SpottingPage) -> list[dict[str, Any]]:
    """The rows of the table of scores; those of all datasets together only of experiments with several."""
    rows = []
    for row in _records(metrics):
        if row["dataset"] == ALL and len(settings.experiments[row["experiment"]].datasets) == 1:
            continue
        cells = {name: [_number(row[f"{name}{end}"]) for end in ("", "_low", "_high")] for name in RATES}
        rows.append(
            {**row, **cells, "experiment": row["experiment"], "layout": settings.layouts.get(row["dataset"], "")}
        )
    return rows


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _published(settings: SpottingPage) -> list[dict[str, str]]:
    """Published scores on the datasets of the study."""
    with files("merflow.evaluation").joinpath("published_spotting.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return _records(table[table["layout"].isin(settings.layouts.values())])


def _curves(curve: pd.DataFrame, metrics: pd.DataFrame) -> list[str]:
    """Recall against false alarms per minute, a drawing for each kind; a dot marks the threshold in use."""
    drawings = []
    every = curve[curve["dataset"] == ALL]
    for kind, points in every.groupby("kind", sort=False):
        figure, (axes,) = make_axes(5.2, 2.8)
        for number, (name, part) in enumerate(points.groupby("experiment", sort=False)):
            colour, line = (FIRST, SECOND, INK, MUTED)[number % 4], _LINES[(number + number // 4) % 4]
            x, y = (part[column].astype(float) for column in ("false_alarms_per_minute", "recall"))
            axes.step([0, *x], [0, *y], line, where="post", color=colour, linewidth=1.5, label=short(str(name)))
            used = metrics[(metrics["experiment"] == name) & (metrics["dataset"] == ALL) & (metrics["kind"] == kind)]
            for row in _records(used):
                place = _number(row["false_alarms_per_minute"]), _number(row["recall"])
                axes.plot(*place, "o", color=colour, markersize=5)
        axes.set(xlabel=f"false {kind}-expressions per minute", ylabel="recall", ylim=(0, 1.02), xlim=(0, None))
        plain_axes(axes, grid="both")
        axes.legend(frameon=False, loc="lower right", labelcolor=INK)
        text = f"Recall of {kind}-expressions against false alarms per minute, by threshold, for each experiment"
        drawings.append(page_svg(figure, text, f"curve-{kind}"))
    return drawings


def _recognised(name: str, settings: SpottingPage, tables: SpottedTables) -> dict[str, Any]:
    """How the hits of an experiment were recognised, by their true class, and by which networks."""
    hits, classes = tables.detections[name], list(settings.experiments[name].classes)
    hits = hits[hits["truth"].isin(classes)]
    counts = pd.crosstab(hits["truth"], hits["label"]).reindex(index=classes, columns=classes, fill_value=0)
    networks = tables.audits[name]["note"].value_counts()
    return {"name": name, "classes": classes, "counts": counts.to_numpy().tolist(), "networks": networks.to_dict()}


def _timelines(settings: SpottingPage, tables: SpottedTables) -> list[dict[str, Any]]:
    """A drawing of each video: expressions, and what its experiments spotted, with the scores of their candidates."""
    keys = ["dataset", "video"]
    content = pd.concat([tables.truth[keys], *(table[keys] for table in tables.detections.values())])
    counts = content.groupby(keys).size().rename("count")
    ordered = tables.videos.merge(counts, how="left", left_on=keys, right_index=True)
    ordered = ordered.fillna({"count": 0}).sort_values("count", ascending=False, kind="stable")[:MAX_VIDEOS]
    drawings = []
    for number, row in enumerate(_records(ordered.sort_index())):
        names = [name for name, each in settings.experiments.items() if row["dataset"] in each.datasets]
        drawings.append({**row, "svg": _timeline(number, row, names, tables)})
    return drawings


def _timeline(number: int, video: Mapping[str, Any], names: Sequence[str], tables: SpottedTables) -> str:
    """The drawing of a video, with a line for each of the experiments ``names``."""
    first, last, fps = video["first"], video["last"], video["fps"]

    def of_video(table: pd.DataFrame) -> list[dict[str, Any]]:
        return _records(table[(table["dataset"] == video["dataset"]) & (table["video"] == video["video"])])

    figure, (axes,) = make_axes(7.6, 0.28 * (len(names) + 1))
    for row in of_video(tables.truth):
        colour = INK if row["kind"] == "micro" else MUTED
        axes.barh(
            0, (row["offset"] - row["onset"] + 1) / fps, left=(row["onset"] - first) / fps, height=0.6, color=colour
        )
    for place, name in enumerate(names, 1):
        best = tables.candidates[name]["score"].max() if name in tables.candidates else 1.0
        for row in of_video(tables.candidates[name]) if name in tables.candidates else []:
            height = 0.7 * max(0.0, row["score"]) / max(best, 1e-9)
            axes.plot([(row["apex"] - first) / fps] * 2, [place + 0.35, place + 0.35 - height], color=RULE, linewidth=1)
        for row in of_video(tables.detections[name]):
            colour = FIRST if row["outcome"] == "hit" else SECOND
            axes.barh(
                place, (row["offset"] - row["onset"] + 1) / fps, left=(row["onset"] - first) / fps, height=0.5,
                color=colour, alpha=0.85,
            )  # fmt: skip
    axes.set(xlim=(0, (last - first + 1) / fps), ylim=(len(names) + 0.5, -0.5), xlabel="seconds")
    axes.set_yticks(range(len(names) + 1), ["truth", *map(short, names)])
    plain_axes(axes)
    return page_svg(figure, f"Timeline of {video['video']}: expressions and detections", f"timeline-{number}")


def _examples(name: str, tables: SpottedTables) -> dict[str, Any]:
    """The strongest hits and false alarms of an experiment, and its first misses, with the frames that show them."""
    table = pd.concat([tables.detections[name].sort_values("score", ascending=False), tables.misses[name]])
    groups = []
    for outcome, title in _OUTCOMES.items():
        part = table[table["outcome"] == outcome]
        rows = [{**row, "shown": _shown(row)} for row in _records(part[:EXAMPLES])]
        groups.append({"title": title, "count": len(part), "rows": rows})
    return {"name": name, "groups": groups}


def _shown(row: Mapping[str, Any]) -> dict[str, int]:
    """The frames of an interval that are shown: onset and apex (the middle if it has none)."""
    apex = _number(row["apex"])
    return {
        "onset": int(row["onset"]),
        "apex": int((row["onset"] + row["offset"]) // 2 if math.isnan(apex) else apex),
    }


def _pictures(examples: Iterable[Mapping[str, Any]], settings: SpottingPage) -> dict[str, dict[str, dict[int, str]]]:
    """The pictures of the examples by dataset, video and frame; each video is read once, in order."""
    rows = [row for experiment in examples for group in experiment["groups"] for row in group["rows"]]
    wanted = sorted({(row["dataset"], row["video"], number) for row in rows for number in row["shown"].values()})
    pictures: dict[str, dict[str, dict[int, str]]] = {}
    for (dataset, video), places in groupby(wanted, lambda place: place[:2]):
        source = settings.footage[dataset][video]
        of_video = pictures.setdefault(dataset, {}).setdefault(video, {})
        bits = bits_in_use(largest_values([Clip(source, "", "", "micro", source)]))
        for *_, number in places:
            try:
                _, image = next(grey_frames(source, number, number + 2, bit_depth=bits))
                of_video[number] = picture(image, 160)
            except (MerflowError, StopIteration, OSError) as error:
                log.warning("%s, frame %d: %s", source, number, error)
    return pictures


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
