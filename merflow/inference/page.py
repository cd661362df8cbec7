"""The page of a prediction: answers, and the evidence that they rest on."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from merflow.inference.candidates import MAX_SHOWN, shown_candidates, strength
from merflow.inference.results import PredictionResults, PreparedClip, Row, SourceResult, write_answers
from merflow.inference.settings import SEARCHED, UNCERTAIN, PageSettings
from merflow.preprocessing.interpolation import keyframe_images
from merflow.report import svg
from merflow.report.formats import templates
from merflow.report.images import colour_wheel, flow_picture, picture
from merflow.report.sections.certainty import coverage_at
from merflow.runtime.summary import SYNTHETIC_MARK
from merflow.storage.files import atomic_write, safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import COVERAGE, read_table

log = logging.getLogger(__name__)

TEMPLATE = "page.html.j2"
_FILM_FRAMES = 12
_THUMBNAIL_PX = 150
_FACE_PX = 192
_BOX_COLOUR, _EYE_COLOUR = (86, 180, 233), (230, 159, 0)
_DROP_COLOUR, _GAIN_COLOUR = np.array([0, 114, 178.0]), np.array([230, 159, 0.0])


def write_prediction(settings: PageSettings, inputs: Mapping[str, Any], folder: Path) -> None:
    """Write ``answers.csv``, ``answers.json`` and ``index.html`` into a folder.

    ``answers.csv`` has a row for each clip and experiment (:data:`merflow.storage.tables.PREDICTED`), and ``p_``,
    ``p_low_`` and ``p_high_`` of each class. A source without an answer has one row, whose ``status`` is ``failed`` or
    ``nothing found``.

    Args:
        settings: facts about the study and the sources.
        inputs: files: ``search_results, intervals`` (of each source), ``faces, keyframes, flow`` (of each preparation
            of each source), ``quality`` (of each preparation), ``tables, regions`` (of each experiment), ``coverage``.
        folder: output folder.
    """
    files = {
        name: [str(value)] if isinstance(value, str | Path) else list(map(str, value)) for name, value in inputs.items()
    }
    results = PredictionResults.read(settings, files)
    rows = list(results.rows(settings))
    write_answers(rows, settings, folder)
    with atomic_write(folder / "index.html") as temporary:
        temporary.write_text(_page(settings, files, results, rows) + "\n", encoding="utf-8")


def _page(
    settings: PageSettings, files: Mapping[str, Sequence[str]], results: PredictionResults, rows: Sequence[Row]
) -> str:
    regions = dict(zip(settings.experiments, files["regions"], strict=True))
    shown = shown_candidates(candidate for source in results.sources for candidate in source.candidates)
    films = _films([source for source in results.sources if source.searchable], shown, settings.spotter)
    rows_of: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        rows_of.setdefault((row["source"], str(row["clip"])), []).append(row)
    sections: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    for source in results.sources:
        searched = not source.candidates or source.candidates[0]["found"] == SEARCHED
        section: dict[str, Any] = {"source": source, "searched": searched, "film": films.get(source.number)}
        if source.searchable:
            section |= _face_track(source)
        section["candidates"] = []
        for number, candidate in enumerate(source.candidates, start=1):
            its_rows = rows_of[source.clip, str(candidate["clip"])]
            heading = {"anchor": f"clip-{source.number}-{number}", "number": number}
            is_shown = str(candidate["clip"]) in shown
            if is_shown:
                section["candidates"].append(heading | _candidate(settings, its_rows, regions, results))
            if any(row["status"] == "ok" for row in its_rows):
                of_experiments = {row["experiment"]: row for row in its_rows if row["status"] == "ok"}
                answered.append(heading | {"shown": is_shown, "strength": strength(candidate), "rows": of_experiments})
        section["hidden"] = len(source.candidates) - len(section["candidates"])
        sections.append(section)
    # Those that were not searched have no strength and stay in their order.
    answered.sort(key=lambda candidate: -candidate["strength"])
    content = {
        "settings": settings,
        "sections": sections,
        "films": len(films),
        "rows": [row for row in rows if row["status"] == "ok"],
        "answered": answered,
        # A clip fails alike in all experiments of a preparation.
        "failed": list(dict.fromkeys((row["clip"], row["reason"]) for row in rows if row["status"] == "failed")),
        "uncertain": UNCERTAIN,
        "coverage": coverage_at_threshold(settings, files.get("coverage", [])),
        "wheel": colour_wheel(),
        "style": svg.style_sheet(),
        "mark": SYNTHETIC_MARK if settings.synthetic else "",
    }
    environment = templates(Path(__file__).parent)
    environment.filters["points"] = points
    return environment.get_template(TEMPLATE).render(content)


def points(drop: float) -> str:
    """Return the change of a probability that dropped, in per cent points; no change is 0, without a sign."""
    return f"{-100 * drop:+.0f}" if abs(drop) >= 0.005 else "0"


def coverage_at_threshold(settings: PageSettings, files: Sequence[str | Path]) -> dict[str, dict[str, float]]:
    """Return, for each experiment, the fraction of test clips that reach the threshold and their accuracy.

    ``files``: the table of the study, if an experiment of it answers, and those of weights of other studies.
    """
    coverage = {}
    for name, experiment in settings.experiments.items():
        table = read_table(experiment.coverage or files[0], COVERAGE)
        rows = table if experiment.coverage else table[table["experiment"] == name]
        if len(rows):
            at = coverage_at(rows, settings.uncertain_below)
            coverage[name] = {
                "answered": float(at.answered), "accuracy": float(at.accuracy),
                "clips": int(rows["n_clips"].iloc[0]), "of_all": float(at.all_clips),
            }  # fmt: skip
    return coverage


# --- Sources ----------------------------------------------------------------------------------------------------------


def _films(sources: Sequence[SourceResult], shown: set[str], spotter: str = "") -> dict[int, dict[str, Any]]:
    """Return ``curve`` (SVG, empty if the clip is too short) and ``strip`` of sources, by their number.

    Sources of shown candidates come first, then those without a candidate; the others get none.
    """
    first = [source for source in sources if any(str(row["clip"]) in shown for row in source.candidates)]
    films = {}
    for source in (first + [source for source in sources if not source.candidates])[:MAX_SHOWN]:
        with open_h5(source.search_results) as file:
            films[source.number] = {"curve": _curve(source, file, not spotter), "strip": _video_strip(source, file)}
    return films


def _video_strip(source: SourceResult, file: h5py.File) -> list[dict[str, Any]]:
    """Return thumbnails with the box of the face and its eyes."""
    places = [group.attrs for group in file["places"].values()]
    numbers = list(file["thumbnails"])
    strip = []
    for name in numbers[:: max(1, math.ceil(len(numbers) / _FILM_FRAMES))]:
        number, thumbnail = int(name), file["thumbnails"][name][()]
        place = next((place for place in reversed(places) if place["frame"] <= number), places[0])
        scale = thumbnail.shape[1] / source.track["width"]
        image = cv2.cvtColor(thumbnail, cv2.COLOR_GRAY2RGB)
        left, top, width, height = (int(round(float(side) * scale)) for side in place["box"])
        cv2.rectangle(image, (left, top), (left + width, top + height), _BOX_COLOUR, 1, cv2.LINE_AA)
        for x, y in place["eyes"] * scale:
            cv2.circle(image, (int(round(x)), int(round(y))), 2, _EYE_COLOUR, -1, cv2.LINE_AA)
        strip.append({"picture": picture(image, _THUMBNAIL_PX), "seconds": source.seconds(number), "frame": number})
    return strip


def _face_track(source: SourceResult) -> dict[str, Any]:
    """Return the number of face positions, the width of the face, and the stretches without a face."""
    with open_h5(source.search_results) as file:
        widths = [float(group.attrs["box"][2]) for group in file["places"].values()]
        lost = file["lost"][()].tolist()
    face = f"{min(widths):.0f} to {max(widths):.0f}" if max(widths) - min(widths) >= 1 else f"{widths[0]:.0f}"
    return {"places": len(widths), "face": face, "lost": lost}


def _curve(source: SourceResult, file: h5py.File, with_threshold: bool) -> str:
    """Return the motion there and back over time, with candidates and blinks; empty if the clip is too short."""
    seconds, motion, track = file["centres"][()], file["motion"][()], source.track
    if len(seconds) < 3 or not np.isfinite(motion).any():
        return ""
    figure, (axes,) = svg.make_axes(6.0, 1.4)
    highest = max(float(np.nanmax(motion)), track["threshold"]) * 1.15
    intervals = []
    for number, candidate in enumerate(source.candidates, start=1):
        onset, offset = (source.seconds(int(candidate[name])) for name in ("onset", "offset"))
        axes.axvspan(onset, offset, color=svg.FIRST, alpha=0.2, linewidth=0)
        middle = (onset + offset) / 2
        axes.text(middle, highest, str(number), ha="center", va="bottom", fontsize=7, color=svg.INK)
        intervals.append(f"{number} from {onset:.2f} to {offset:.2f} s")
    axes.plot(seconds, motion, color=svg.FIRST, linewidth=1.2)
    if with_threshold:
        axes.axhline(track["threshold"], color=svg.SECOND, linewidth=1, linestyle="--")
    blinks = file["blinks"][()]
    if len(blinks):
        heights = np.interp(blinks, seconds, np.nan_to_num(motion))
        axes.plot(blinks, heights, "x", color=svg.MUTED, markersize=5)
    ends = track["begin"], track["begin"] + max(track["seconds"], 1e-3)
    axes.set(xlim=ends, ylim=(0, highest), xlabel="seconds", ylabel="% of eye distance")
    svg.plain_axes(axes, grid="y")
    level = f"threshold {track['threshold']:.2f} per cent of the distance between the eyes; " if with_threshold else ""
    description = (
        f"Motion there and back over {track['seconds']:.1f} s, {level}"
        f"candidates: {'; '.join(intervals) or 'none'}; {len(blinks)} blinks"
    )
    return svg.page_svg(figure, description, f"curve-{source.number}")


# --- Candidates -------------------------------------------------------------------------------------------------------


def _candidate(
    settings: PageSettings, rows: Sequence[Row], regions: Mapping[str, str], results: PredictionResults
) -> dict[str, Any]:
    """Return what the page shows of one candidate; ``rows`` has one row per experiment."""
    clip, answered = str(rows[0]["clip"]), [row for row in rows if row["status"] == "ok"]
    flags = dict.fromkeys(flag for row in answered for flag in str(row["flags"]).split("; ") if flag)
    content = {"clip": clip, "row": rows[0], "flags": list(flags), "answers": []}
    if not answered:
        return content
    prepared = results.prepared[settings.experiments[answered[0]["experiment"]].prep, clip]
    strip, face, full = _keyframe_strip(clip, prepared)
    answers = []
    for row in answered:
        name = row["experiment"]
        bars = [
            {"name": label, **{kind: float(row[f"{kind}_{label}"]) for kind in ("p", "p_low", "p_high")}}
            for label in settings.experiments[name].classes
        ]
        heat, drops = _occlusion(clip, regions[name], face)
        strongest = max(drops, key=lambda region: region["drop"])
        answers.append(
            {"experiment": name, "row": row, "bars": bars, "heat": heat, "regions": drops, "strongest": strongest}
        )
    return content | {"strip": strip, "full": full, "answers": answers}


def _keyframe_strip(clip: str, prepared: PreparedClip) -> tuple[list[dict[str, Any]], np.ndarray, float]:
    """Return onset and key-frames with their flow, the apex frame, and the motion that is shown in full colour."""
    numbers = prepared.keyframes["frame"]
    with open_h5(prepared.faces) as faces, open_h5(prepared.flow) as flows:
        face, fields = faces[safe_filename(clip)], flows[safe_filename(clip)]
        images = keyframe_images(face, fields, prepared.keyframes)
        at_apex = face["frames"][np.searchsorted(face["frame_numbers"][()], prepared.apex)]
        flow = fields["flow"][:].astype(np.float32)
    full = max(0.5, float(np.percentile(np.hypot(flow[:, 0], flow[:, 1]), 99.5)))
    apex = 1 + int(np.nanargmin((numbers.iloc[1:] - prepared.apex).abs()))
    strip = [
        {
            "name": "onset" if not n else "apex" if n == apex else f"key-frame {n - 1}",
            "place": "interpolated" if math.isnan(number) else f"frame {int(number)}",
            "face": picture(images[n], _FACE_PX),
            "flow": flow_picture(flow[n - 1], full) if n else "",
            "apex": n == apex,
        }
        for n, number in enumerate(numbers)
    ]
    return strip, at_apex, full


def _occlusion(clip: str, file: str, face: np.ndarray) -> tuple[str, list[dict[str, Any]]]:
    """Return the face with its occlusion heat map, and the drop of each region, largest first."""
    with open_h5(file) as tables:
        index = list(tables["clip"].asstr()[:]).index(clip)
        names, drops, grid = tables["region"].asstr()[:], tables["drops"][index], tables["grid"][index]
    regions = [{"name": str(name), "drop": float(drop)} for name, drop in zip(names, drops, strict=True)]
    return picture(heat_picture(face, grid), _FACE_PX), sorted(regions, key=lambda region: -region["drop"])


def heat_picture(face: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return a face [S, S] with a heat map: blue where occlusion lowers the probability, orange where it raises it.

    The largest drop of ``grid`` [g, g] has full colour; values below 0.02 are faint. RGB, uint8 [S, S, 3].
    """
    size = face.shape[0]
    heat = cv2.resize(np.asarray(grid, np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    strength = 0.75 * np.clip(np.abs(heat) / max(float(np.abs(grid).max()), 0.02), 0, 1)[..., None]
    colour = np.where(heat[..., None] >= 0, _DROP_COLOUR, _GAIN_COLOUR)
    return np.asarray(np.round((1 - strength) * face[..., None] + strength * colour), np.uint8)
