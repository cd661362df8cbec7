"""The answers as a table, as JSON, and as a page that shows what they rest on."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import matplotlib
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from merflow.inference.outcomes import SEARCHED, UNCERTAIN
from merflow.report import svg
from merflow.report.formats import percent
from merflow.report.images import colour_wheel, flow_picture, picture
from merflow.runtime.summary import SYNTHETIC_MARK
from merflow.storage.files import atomic_write, safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import (
    ANSWERS,
    COVERAGE,
    INTERVALS,
    KEYFRAMES,
    PREDICTED,
    QUALITY,
    SPOTTING,
    read_table,
    write_table,
)

log = logging.getLogger(__name__)

TEMPLATE = "page.html.j2"
SHOWN = 40
"""Candidates that the page shows in full, the strongest first; the tables have all."""
BUDGET = 10_000_000
"""Bytes of all video strips and curves together, as the page holds them; those of the shown candidates come first."""
_THUMBNAIL = 150
_FACE = 192


def write_prediction(plan: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path) -> None:
    """Write ``answers.csv``, ``answers.json`` and ``index.html`` into a folder.

    ``answers.csv`` has a row for each clip and experiment (:data:`merflow.storage.tables.PREDICTED`), and of each
    class ``p_``, ``p_low_`` and ``p_high_``. A source without an answer has one row, whose ``status`` is ``failed`` or
    ``nothing found``.

    Args:
        plan: :meth:`merflow.study.prediction.Prediction.page_settings`.
        inputs: files: ``looked, intervals`` (of each source), ``faces, keyframes, flow`` (of each preparation of each
            source), ``quality`` (of each preparation), ``tables, regions`` (of each experiment), ``coverage``, and
            ``spotting`` if something was searched.
        folder: where to write.
    """
    files = {name: [value] if isinstance(value, str | Path) else list(value) for name, value in inputs.items()}
    sources = [
        _source(number, row, files["looked"][number], files["intervals"][number])
        for number, row in enumerate(plan["sources"].values())
    ]
    tables = {
        name: read_table(file, ANSWERS).set_index("clip")
        for name, file in zip(plan["experiments"], files["tables"], strict=True)
    }
    apexes = _apexes(plan, files)
    failed = {
        prep: read_table(file, QUALITY).query("status != 'ok'").set_index("clip")["reason"].to_dict()
        for prep, file in zip(plan["preparations"], files["quality"], strict=True)
    }
    rows = list(_rows(plan, sources, tables, apexes, failed))
    write_table(rows, folder / "answers.csv", PREDICTED)
    about = {
        "input": plan["input"],
        "study": plan["study"],
        "experiments": plan["experiments"],
        "settings": plan["settings"],
        "answers": [{name: _plain(value) for name, value in row.items()} for row in rows],
    }
    with atomic_write(folder / "answers.json") as temporary:
        # Bytes of a file's name that are no UTF-8 become the escapes that JSON has for them.
        how = {"encoding": "utf-8", "errors": "backslashreplace"}
        temporary.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", **how)
    page = _page(plan, files, sources, tables, rows, apexes)
    with atomic_write(folder / "index.html") as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")


def _source(number: int, row: Mapping[str, Any], looked: str | Path, intervals: str | Path) -> dict[str, Any]:
    """One source: what it is, its candidates, and what ``looked.h5`` says of it."""
    with open_h5(looked) as file:
        about = {name: _plain(value) for name, value in file.attrs.items()}
    candidates = read_table(intervals, INTERVALS).to_dict("records")
    return {"number": number, "row": row, "looked": looked, "about": about, "candidates": candidates}


def _apexes(plan: Mapping[str, Any], files: Mapping[str, list]) -> dict[tuple[str, str], dict[str, Any]]:
    """By preparation and clip: the apex frame, and the files that the clip lies in."""
    found = {}
    places = [(source, prep) for source in plan["sources"] for prep in plan["preparations"]]
    for place, (_, prep) in enumerate(places):
        own = {name: files[name][place] for name in ("faces", "keyframes", "flow")}
        for clip, rows in read_table(own["keyframes"], KEYFRAMES).groupby("clip", sort=False):
            taken = rows["apex_source"].iloc[0]
            found[prep, str(clip)] = own | {"apex": int(rows[f"apex_{taken}"].iloc[0]), "rows": rows}
    return found


def _rows(
    plan: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    tables: Mapping[str, pd.DataFrame],
    apexes: Mapping[tuple[str, str], Mapping[str, Any]],
    failed: Mapping[str, Mapping[str, str]],
) -> Any:
    for source in sources:
        about, given = source["about"], source["row"]
        base = {"source": given["clip"], "label": given["label"], "fps": about["fps"]}
        if about["status"] != "ok":
            yield base | {"clip": given["clip"], "status": "failed", "reason": about["status"], "fps": ""}
            continue
        if not source["candidates"]:
            reason = "no interval moves like a micro-expression"
            yield base | {"clip": given["clip"], "status": "nothing found", "reason": reason}
        for candidate in source["candidates"]:
            clip, fps = str(candidate["clip"]), float(candidate["fps"])
            own = base | {"clip": clip, "found": candidate["found"]}
            first = about["first"]
            for experiment, settings in plan["experiments"].items():
                prep = settings["prep"]
                times = {"onset": int(candidate["onset"]), "offset": int(candidate["offset"])}
                if (prep, clip) in apexes:
                    times["apex"] = apexes[prep, clip]["apex"]
                seconds = {f"{name}_s": round((frame - first) / fps, 4) for name, frame in times.items()}
                row = own | times | seconds | {"experiment": experiment}
                if clip in tables[experiment].index:
                    answer = tables[experiment].loc[clip].drop("experiment").to_dict()
                    yield row | {"status": "ok", "reason": ""} | answer
                else:
                    yield row | {"status": "failed", "reason": failed[prep].get(clip, "")}


def _plain(value: Any) -> Any:
    """A value for JSON: numbers of numpy as numbers, NaN as nothing."""
    value = value.item() if isinstance(value, np.generic) else value
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return None if isinstance(value, float) and math.isnan(value) else value


# --- The page ---------------------------------------------------------------------------------------------------------


def _page(
    plan: Mapping[str, Any],
    files: Mapping[str, list],
    sources: Sequence[Mapping[str, Any]],
    tables: Mapping[str, pd.DataFrame],
    rows: Sequence[Mapping[str, Any]],
    apexes: Mapping[tuple[str, str], Mapping[str, Any]],
) -> str:
    regions = dict(zip(plan["experiments"], files["regions"], strict=True))
    shown = _shown(sources)
    by_clip: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_clip.setdefault(str(row["clip"]), []).append(row)
    pictures = _pictures([source for source in sources if source["about"]["status"] == "ok"], shown, BUDGET)
    parts = []
    for source in sources:
        part = {
            "name": source["row"]["clip"],
            "pictures": pictures.get(source["number"]),
            "label": source["row"]["label"],
            "about": source["about"],
            "anchor": f"source-{source['number']}",
            "searched": not source["candidates"] or source["candidates"][0]["found"] == SEARCHED,
            "candidates": [],
        }
        if source["about"]["status"] == "ok":
            part |= _looked(source)
            for place, candidate in enumerate(source["candidates"], start=1):
                clip = str(candidate["clip"])
                if clip not in shown:
                    continue
                anchor = f"clip-{source['number']}-{place}"
                own = by_clip[clip]
                part["candidates"].append(_candidate(anchor, place, plan, own, tables, regions, apexes))
        part["hidden"] = len(source["candidates"]) - len(part["candidates"])
        parts.append(part)
    page = {
        "plan": plan,
        "parts": parts,
        "pictured": len(pictures),
        "rows": [row for row in rows if row["status"] == "ok"],
        "failed": [row for row in rows if row["status"] == "failed"],
        "uncertain": UNCERTAIN,
        "coverage": _coverage(plan, files["coverage"][0]),
        "spotting": _spotting(files.get("spotting", [])),
        "wheel": colour_wheel(),
        "style": (Path(svg.__file__).parent / svg.STYLE_SHEET).read_text(encoding="utf-8"),
        "mark": SYNTHETIC_MARK if plan["synthetic"] else "",
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(percent=percent, points=points)
    return environment.get_template(TEMPLATE).render(page)


def points(fall: float) -> str:
    """What a fall of a probability changes it by, in per cent points; nothing is 0, without a sign."""
    return f"{-100 * fall:+.0f}" if abs(fall) >= 0.005 else "0"


def _shown(sources: Sequence[Mapping[str, Any]]) -> set[str]:
    """The candidates that are shown in full."""
    every = [candidate for source in sources for candidate in source["candidates"]]
    # What was not searched has no strength, and comes first.
    strongest = sorted(every, key=lambda one: -float(one["strength"]) if one["found"] == SEARCHED else -math.inf)
    return {str(candidate["clip"]) for candidate in strongest[:SHOWN]}


def _coverage(plan: Mapping[str, Any], file: str | Path) -> dict[str, dict[str, float]]:
    """Of each experiment: what share of the study's test clips reaches the threshold, and which part is right."""
    table = read_table(file, COVERAGE)
    found = {}
    for name in plan["experiments"]:
        own = table[table["experiment"] == name]
        if len(own):
            row = own.iloc[(own["threshold"] - plan["settings"]["uncertain_below"]).abs().argmin()]
            everything = own.iloc[own["threshold"].argmin()]
            found[name] = {
                "answered": float(row["answered"]), "accuracy": float(row["accuracy"]), "clips": int(row["n_clips"]),
                "of_all": float(everything["accuracy"]),
            }  # fmt: skip
    return found


def _spotting(files: Sequence[str | Path]) -> dict[str, float] | None:
    """What the search of long videos did on drawn people."""
    if not files:
        return None
    table = read_table(files[0], SPOTTING).set_index("scope")
    return {"people": len(table) - 1} | {name: float(value) for name, value in table.loc["all"].items()}


def _pictures(sources: Sequence[Mapping[str, Any]], shown: set[str], budget: int) -> dict[int, dict[str, Any]]:
    """Curve and video strip by number of source, until the budget is spent.

    Sources of shown candidates come first, then those in which nothing was found; the others have none.
    """
    first = [one for one in sources if any(str(candidate["clip"]) in shown for candidate in one["candidates"])]
    found: dict[int, dict[str, Any]] = {}
    spent = 0
    for source in first + [one for one in sources if not one["candidates"]]:
        with open_h5(source["looked"]) as file:
            own = {"curve": _curve(source, file), "strip": _film(source, file)}
        spent += len(own["curve"]) + sum(len(frame["picture"]) for frame in own["strip"])
        if spent > budget and found:
            break
        found[source["number"]] = own
    return found


def _film(source: Mapping[str, Any], file: h5py.File) -> list[dict[str, Any]]:
    """The video strip: at most 12 frames."""
    places, numbers = _places(file), list(file["thumbnails"])
    every = max(1, math.ceil(len(numbers) / 12))
    pictures = [(int(number), file["thumbnails"][number][()]) for number in numbers[::every]]
    return [_thumbnail(number, picture, places, source["about"]) for number, picture in pictures]


def _places(file: h5py.File) -> list[dict[str, Any]]:
    return [
        {"frame": int(group.attrs["frame"]), "box": group.attrs["box"], "eyes": group.attrs["eyes"]}
        for group in file["places"].values()
    ]


def _looked(source: Mapping[str, Any]) -> dict[str, Any]:
    """Face track of a source."""
    about = source["about"]
    with open_h5(source["looked"]) as file:
        places = _places(file)
        lost = [(_seconds(first, about), _seconds(last, about)) for first, last in file["lost"][()].tolist()]
        blinks = len(file["blinks"])
    widths = [float(place["box"][2]) for place in places]
    return {
        "places": len(places),
        "face": f"{min(widths):.0f} to {max(widths):.0f}" if max(widths) - min(widths) >= 1 else f"{widths[0]:.0f}",
        "lost": lost,
        "blinks": blinks,
    }


def _seconds(frame: int, about: Mapping[str, Any]) -> float:
    return (frame - about["first"]) / about["fps"]


def _thumbnail(number: int, picture: np.ndarray, places: Sequence[Mapping[str, Any]], about: Mapping) -> dict[str, Any]:
    """A frame of the video strip, with the box of the face and its eyes."""
    place = next((one for one in reversed(places) if one["frame"] <= number), places[0])
    scale = picture.shape[1] / about["width"]
    image = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    left, top, width, height = (int(round(float(side) * scale)) for side in place["box"])
    cv2.rectangle(image, (left, top), (left + width, top + height), (86, 180, 233), 1, cv2.LINE_AA)
    for x, y in place["eyes"] * scale:
        cv2.circle(image, (int(round(x)), int(round(y))), 2, (230, 159, 0), -1, cv2.LINE_AA)
    return {"picture": picture(image, _THUMBNAIL), "seconds": _seconds(number, about), "frame": number}


def _curve(source: Mapping[str, Any], file: h5py.File) -> str:
    """Motion there and back over time, with what was found; empty where the clip is too short for it."""
    about = source["about"]
    centres, motion = file["centres"][()], file["motion"][()]
    if len(centres) < 3 or not np.isfinite(motion).any():
        return ""
    with matplotlib.rc_context(svg.STYLE):
        figure = Figure(figsize=(6.8, 2.0))
        figure.subplots_adjust(left=0.075, right=0.99, top=0.9, bottom=0.21)
        axes = figure.subplots()
        seconds = (centres - about["first"]) / about["fps"]
        highest = max(float(np.nanmax(motion)), about["threshold"]) * 1.15
        said = []
        for number, candidate in enumerate(source["candidates"], start=1):
            ends = [_seconds(int(candidate[name]), about) for name in ("onset", "offset")]
            axes.axvspan(*ends, color=svg.FIRST, alpha=0.2, linewidth=0)
            axes.text(sum(ends) / 2, highest, str(number), ha="center", va="bottom", fontsize=7, color=svg.INK)
            said.append(f"{number} from {ends[0]:.2f} to {ends[1]:.2f} s")
        axes.plot(seconds, motion, color=svg.FIRST, linewidth=1.2)
        axes.axhline(about["threshold"], color=svg.SECOND, linewidth=1, linestyle="--")
        blinks = (file["blinks"][()] - about["first"]) / about["fps"]
        if len(blinks):
            heights = np.interp(blinks, seconds, np.nan_to_num(motion))
            axes.plot(blinks, heights, "x", color=svg.MUTED, markersize=5)
        axes.set(xlim=(0, max(about["seconds"], 1e-3)), ylim=(0, highest), xlabel="seconds", ylabel="% of eye distance")
        axes.tick_params(length=0)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        text = (
            f"Motion there and back over {about['seconds']:.1f} s, threshold {about['threshold']:.2f} per cent of the "
        )
        text += f"distance between the eyes; candidates: {'; '.join(said) or 'none'}; {len(blinks)} blinks"
        return svg.page_svg(figure, text, f"curve-{source['number']}")


def _candidate(
    anchor: str,
    place: int,
    plan: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    tables: Mapping[str, pd.DataFrame],
    regions: Mapping[str, str | Path],
    apexes: Mapping[tuple[str, str], Mapping[str, Any]],
) -> dict[str, Any]:
    """What the page shows of one candidate."""
    first, clip = rows[0], str(rows[0]["clip"])
    good = [row for row in rows if row["status"] == "ok"]
    found = {
        "anchor": anchor, "place": place, "clip": clip, "row": first, "answers": [], "strip": [],
        "flags": list(dict.fromkeys(flag for row in good for flag in str(row["flags"]).split("; ") if flag)),
    }  # fmt: skip
    if not good:
        return found
    prep = plan["experiments"][good[0]["experiment"]]["prep"]
    own = apexes[prep, clip]
    found["strip"], face, found["full"] = _strip(clip, own)
    found["prep"] = prep
    for row in good:
        name = row["experiment"]
        classes = plan["experiments"][name]["classes"]
        bars = [
            {"name": label, **{which: float(row[f"{which}_{label}"]) for which in ("p", "p_low", "p_high")}}
            for label in classes
        ]
        heat, parts = _regions(clip, regions[name], face)
        strongest = max(parts, key=lambda part: part["fall"])
        found["answers"].append(
            {"experiment": name, "row": row, "bars": bars, "heat": heat, "parts": parts, "strongest": strongest}
        )
    return found


def _strip(clip: str, own: Mapping[str, Any]) -> tuple[list[dict[str, Any]], np.ndarray, float]:
    """Onset and key-frames with the flow of each, the aligned apex frame, and what is shown as full colour."""
    rows = own["rows"].sort_values("index")
    with open_h5(own["faces"]) as file:
        group = file[safe_filename(clip)]
        numbers = group["frame_numbers"][:].tolist()
        frames = {n: group["frames"][numbers.index(n)] for n in [*rows["frame"].astype(int), own["apex"]]}
    with open_h5(own["flow"]) as file:
        flow = file[safe_filename(clip)]["flow"][:].astype(np.float32)
    full = max(0.5, float(np.percentile(np.hypot(flow[:, 0], flow[:, 1]), 99.5)))
    strip = []
    chosen = rows["frame"].astype(int).tolist()
    apex = min(range(1, len(chosen)), key=lambda n: abs(chosen[n] - own["apex"]))
    for number, frame in enumerate(chosen):
        name = "onset" if not number else "apex" if number == apex else f"key-frame {number}"
        strip.append(
            {
                "name": name,
                "frame": frame,
                "face": picture(frames[frame], _FACE),
                "flow": flow_picture(flow[number - 1], full) if number else "",
                "apex": number == apex,
            }
        )
    return strip, frames[own["apex"]], full


def _regions(clip: str, file: str | Path, face: np.ndarray) -> tuple[str, list[dict[str, Any]]]:
    """The face with what drove the answer over it, and the same by region."""
    with open_h5(file) as tables:
        place = list(tables["clip"].asstr()[:]).index(clip)
        names, fall, grid = tables["region"].asstr()[:], tables["falls"][place], tables["grid"][place]
    parts = [{"name": str(name), "fall": float(value)} for name, value in zip(names, fall, strict=True)]
    return picture(heat_picture(face, grid), _FACE), sorted(parts, key=lambda part: -part["fall"])


def heat_picture(face: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """A face with a grid over it: blue where covering takes probability away, orange where it adds some.

    Args:
        face: uint8 [S, S].
        grid: [g, g], falls of probability; the largest is shown in full, anything below 0.02 faintly.

    Returns:
        uint8 [S, S, 3], red, green, blue.
    """
    size = face.shape[0]
    heat = cv2.resize(np.asarray(grid, np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    strength = 0.75 * np.clip(np.abs(heat) / max(float(np.abs(grid).max()), 0.02), 0, 1)[..., None]
    colour = np.where(heat[..., None] >= 0, np.array([0, 114, 178.0]), np.array([230, 159, 0.0]))
    return np.round((1 - strength) * face[..., None] + strength * colour).astype(np.uint8)
