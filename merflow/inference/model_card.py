"""The model card of an export: what it was made of, what it reached, what it is for, and what it must not be used for.

After Mitchell, Wu, Zaldivar, Barnes, Vasserman, Hutchinson, Spitzer, Raji, Gebru: Model Cards for Model Reporting (FAT*
2019).
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from merflow.inference.ensemble import Ensemble
from merflow.storage.files import atomic_write
from merflow.storage.tables import CALIBRATION, METRICS, read_table

TEMPLATE = "model_card.md.j2"
VERSIONS = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
"""Packages that an export depends on."""


def write_card(
    ensemble: Ensemble, model: bytes, check: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], card: Path
) -> None:
    """Write ``model_card.md``.

    Args:
        ensemble: what was exported.
        model: content of ``model.onnx``.
        check: rows of ``check.csv``.
        settings: ``datasets`` (``name, layout, licence`` of each that trained a part), ``counts`` (rows ``label,
            found``), ``preparation``, ``floors`` (experiments to stand beside), ``photographs`` (whether the demo
            animates some), ``all_members``, and the tables ``metrics`` and ``calibration`` of the study.
        card: output.
    """
    about = ensemble.about
    metrics = read_table(settings["metrics"], METRICS)
    pooled = metrics[(metrics["scope"] == "pooled") & metrics["metric"].isin(["accuracy", "uf1", "uar"])]
    figures = {
        name: {row["metric"]: row for row in rows.to_dict("records")} for name, rows in pooled.groupby("experiment")
    }
    calibration = read_table(settings["calibration"], CALIBRATION)
    own = calibration[calibration["experiment"] == about["experiment"]]
    environment = Environment(  # Escaped, since what shows Markdown may run the HTML in it.
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["figure"] = _figure
    text = environment.get_template(TEMPLATE).render(
        about=about,
        classes=ensemble.classes,
        temperature=ensemble.temperature,
        datasets=settings["datasets"],
        counts=settings["counts"],
        gated=sorted({one["licence"] for one in settings["datasets"]} - {""}),
        unknown=sorted({d["name"] for d in settings["datasets"] if not d["licence"] and d["layout"] != "demo"}),
        photographs=settings["photographs"],
        synthetic=all(one["layout"] == "demo" for one in settings["datasets"]),
        preparation=settings["preparation"],
        reached={name: figures[name] for name in [about["experiment"], *settings["floors"]] if name in figures},
        calibration={row["metric"]: row for row in own.to_dict("records")},
        members=len(about["members"]),
        all_members=settings["all_members"],
        check=check,
        inputs=_inputs(about),
        versions={name: version(name) for name in VERSIONS},
        digest=sha256(model).hexdigest(),
        megabytes=len(model) / 1e6,
    )
    with atomic_write(card) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _inputs(about: Mapping[str, Any]) -> list[dict[str, str]]:
    """Inputs of the graph: ``name, type, meaning``, and ``sample``, a line of Python that makes one of zeros."""
    clip, size = about["clip"], about["clip"]["size"]
    found = []
    if "key_frames" in clip:
        found.append(
            ("spatial", "uint8", ("n", clip["key_frames"], size, size), "aligned grey crops of the key-frames")
        )
    if "flows" in clip:
        meaning = "TV-L1 flow to each key-frame: u and v in pixels of the crop, and optical strain"
        found.append(("flow", "float32", ("n", clip["flows"], 3, size, size), meaning))
    if about["reads"]["kind"] == "flow-image":
        found.append(("apex_index", "int64", ("n",), "place of the apex among the key-frames, from 0"))
    return [
        {"name": name, "type": kind, "shape": f"[{', '.join(map(str, shape))}]", "meaning": meaning}
        | {"zeros": f"np.zeros({(1, *shape[1:])}, np.{kind})"}
        for name, kind, shape, meaning in found
    ]


def _figure(row: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A value with its interval, where it has one."""
    if row is None:
        return ""
    value, low, high = (row[name] for name in ("value", "ci_low", "ci_high"))
    told = f"{float(value):.{digits}f}"
    return told if low != low or low == "" else f"{told} ({float(low):.{digits}f} to {float(high):.{digits}f})"
