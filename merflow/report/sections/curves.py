"""Section "Training": loss and accuracy by epoch."""

import re
from typing import Any

import pandas as pd

from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section
from merflow.report.svg import FIRST, INK, MUTED, SECOND, make_axes, page_svg
from merflow.storage.tables import CURVES, read_table

FOLD_STAGES = {"prior": "Pairs", "finetune": "Fine-tuning"}
"""Stages of training inside the folds, in order; ``prior`` learns from pairs of clips."""
COLUMNS = ["split", "measure", "epoch", "mean", "low", "high", "runs"]


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``curves.html.j2``."""
    return {"drawings": training_curves(read_table(report.tables["curves"], CURVES))}


def training_curves(table: pd.DataFrame) -> list[Drawing]:
    """A drawing per pre-trained network, and per experiment and stage in its folds (mean over folds and repeats)."""
    drawings: list[Drawing] = []
    pretraining = table[table["stage"] == "pretrain"]
    several = pretraining["experiment"].nunique() > 1
    # Experiments that share pre-trained weights have the same curve, which is drawn once.
    shared: dict[tuple[str, str], list[str]] = {}
    for (experiment, name), rows in pretraining.groupby(["experiment", "name"], sort=False):
        curve = rows[["repeat", "epoch", "split", "loss", "accuracy"]].to_csv(index=False)
        shared.setdefault((str(name), curve), []).append(str(experiment))
    for (name, _), experiments in shared.items():
        rows = pretraining[(pretraining["experiment"] == experiments[0]) & (pretraining["name"] == name)]
        title = f"{name} ({', '.join(experiments)})" if several else name
        drawings.append(_drawing("Pre-training", title, rows.assign(run=rows["repeat"].astype(str)), len(drawings)))
    for stage, title in FOLD_STAGES.items():
        for experiment, rows in table[table["stage"] == stage].groupby("experiment", sort=False):
            runs = rows["repeat"].astype(str) + " " + rows["name"].astype(str)
            drawings.append(_drawing(title, str(experiment), rows.assign(run=runs), len(drawings)))
    return drawings


def _drawing(stage: str, name: str, table: pd.DataFrame, index: int) -> Drawing:
    table = table.assign(**{c: pd.to_numeric(table[c], errors="coerce") for c in ("epoch", "loss", "accuracy")})
    runs = table["run"].nunique()
    kind = "repeats" if stage == "Pre-training" else "folds and repeats" if table["repeat"].nunique() > 1 else "folds"
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name.split(" (")[0]).strip("-")
    return Drawing(
        f"training-{index + 1}-{plain}",
        curves_svg(f"{stage}: {name}", table, f"curve{index}"),
        mean_curves(table).round(6).to_csv(index=False, lineterminator="\n"),
        "Learning curves",
        f"Mean of {runs} {kind}." if runs > 1 else "",
    )


def mean_curves(table: pd.DataFrame) -> pd.DataFrame:
    """The mean of several runs: ``split, measure, epoch, mean, low, high, runs`` (number of runs that still train).

    Runs (folds, repeats) stop at different epochs. The mean continues while at least half of the runs still train;
    ``low`` and ``high`` contain the middle 80 % of the runs.

    Args:
        table: columns ``epoch, split, loss, accuracy, run``.
    """
    parts = []
    for split in ("train", "validation"):
        part = table[table["split"] == split]
        for measure in ("loss", "accuracy"):
            grid = part.pivot_table(index="epoch", columns="run", values=measure, aggfunc="mean").sort_index()
            grid = grid[grid.notna().sum(axis=1) >= max(1, grid.shape[1] / 2)]
            if grid.empty:
                continue
            band = {"mean": grid.mean(axis=1), "low": grid.quantile(0.1, axis=1), "high": grid.quantile(0.9, axis=1)}
            lines = pd.DataFrame(band | {"runs": grid.notna().sum(axis=1)}, index=grid.index).reset_index(names="epoch")
            parts.append(lines.assign(split=split, measure=measure))
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def curves_svg(title: str, table: pd.DataFrame, prefix: str) -> str:
    """Loss (top) and accuracy (bottom) against the epoch, for training and validation; see :func:`mean_curves`."""
    runs = table["run"].nunique()
    figure, (above, below) = make_axes(2.8, 2.4, 2, sharex=True, hspace=0.14)
    ends = []
    means = mean_curves(table)
    for split, colour, line in (("train", FIRST, "-"), ("validation", SECOND, "--")):
        for axes, measure in ((above, "loss"), (below, "accuracy")):
            part = means[(means["split"] == split) & (means["measure"] == measure)]
            if part.empty:
                continue
            axes.plot(part["epoch"], part["mean"], line, color=colour, linewidth=1.5, label=split)
            if runs > 1:
                axes.fill_between(part["epoch"], part["low"], part["high"], color=colour, alpha=0.18, linewidth=0)
            ends.append(f"{split} {measure} {part['mean'].iloc[-1]:.2f}")
    above.set_title(title, loc="left", fontsize=9, fontweight="bold")
    above.set(ylabel="loss", ylim=(0, None))
    below.set(ylabel="accuracy", xlabel="epoch", ylim=(0, 1.02))
    for axes in (above, below):
        axes.grid(axis="y")
        axes.tick_params(length=0, labelcolor=MUTED)
    if above.lines:
        above.legend(frameon=False, fontsize=8, loc="upper right", labelcolor=INK)
    many = f"mean of {runs} runs; " if runs > 1 else ""
    return page_svg(figure, f"Training curves of {title}: {many}at the end {'; '.join(ends)}", prefix)


SECTION = Section("curves", "Training", content)
