"""Broken input for every parser: each returns a result or raises a MerflowError.

To try many inputs: ``PYTHONPATH=. python tests/helpers/fuzz.py 20000`` (per parser; a name after it selects one).
"""

import os
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import torch
import yaml
from dataset_trees import dataset_settings
from torch import nn
from videos import waves, write_video

from merflow.datasets.corrections import read_corrections
from merflow.datasets.index import index_dataset, write_index
from merflow.datasets.workbook import read_workbook
from merflow.errors import MerflowError
from merflow.evaluation.score_table import score_file
from merflow.footage.images import image_size, read_image
from merflow.footage.video import frame_rate, read_video
from merflow.learning.checkpoints import Checkpoints
from merflow.preprocessing.frame_scorer.network import FrameScorer
from merflow.preprocessing.frame_scorer.scorer import _NETWORK, load_scorer
from merflow.protocols.splits import read_splits
from merflow.storage.files import safe_filename
from merflow.storage.tables import CLIPS, read_table
from merflow.storage.weights import write_weights
from merflow.study.load import load_config
from merflow.study.sources import list_sources
from merflow.systems.saved_models import read_models
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import load_network, outcome
from merflow.systems.tsdgcn.sgcn import SGCN

REPO = Path(__file__).parents[2]
SPICE = [
    *(letter.encode() for letter in "'\",;\t\r\n=-/[]*(\\~&<>0²٣é"), b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\xed\xa0\x80", b"1e999", b"-1", b"nan", b"inf", b"99999999999999999999", b"1.5", b"..", b"{x}", b"%00", b"true",
    b"null", b": ", b"- ", b"a" * 300,
]  # fmt: skip
"""What parsers stumble over."""


def changed(data: bytes, dice: random.Random) -> bytes:
    """``data`` with some bytes, and some runs of bytes, other, missing, doubled or moved."""
    data = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 3, 8])):
        place, length = dice.randrange(len(data) + 1), dice.choice([1, 1, 2, 4, 16, 64])
        match dice.randrange(7):
            case 0:
                data[place : place + length] = dice.randbytes(length)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = dice.choice(SPICE)
            case 3:
                data[place : place + length] = dice.choice(SPICE)
            case 4:
                data[place:place] = data[place : place + length]
            case 5:
                other = dice.randrange(len(data) + 1)
                data[place : place + length] = data[other : other + length]
            case 6 if dice.random() < 0.3:
                del data[place:]
    return bytes(data)


def _index(root: Path, layout: str, **settings):
    index = index_dataset("d", dataset_settings(layout=layout, root=str(root), **settings))
    write_index(index, root / "out" / "clips.csv", root / "out" / "problems.csv", root / "out" / "classes.csv")
    read_table(root / "out" / "clips.csv", CLIPS)
    for clip in index.clips:
        safe_filename(clip.clip).encode(), safe_filename(clip.subject).encode()


def _file(folder: Path, name: str, parse: Callable[[Path], object]) -> Callable[[bytes], None]:
    """A parser of a file's bytes."""

    def run(data: bytes) -> None:
        (folder / name).write_bytes(data)
        parse(folder / name)

    return run


def _tree(folder: Path, layout: str, **settings) -> Callable[[bytes], None]:
    """A parser of the names of files and folders, one a line, contents after a tab."""

    def run(data: bytes) -> None:
        root = folder / "tree"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for line in data.split(b"\n"):
            name, _, content = line.partition(b"\t")
            parts = [part[:80] for part in name.replace(b"\0", b"").split(b"/") if part not in (b"", b".", b"..")]
            try:
                target = os.path.join(os.fsencode(root), *parts)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(content.replace(b"\x1e", b"\n") or b"x")
            except OSError:
                continue
        _index(root, layout, **settings)

    return run


def _refuse_none(parsed: object, words: str) -> None:
    """A parser that says with None that it cannot read counts as one that refuses."""
    if parsed is None:
        raise MerflowError(words)


def _paths(*lines: str) -> bytes:
    return "\n".join(lines).encode()


MANIFEST = (
    b"clip,subject,label,frames,onset,apex,offset,fps\nc1,s1,joy,a,1,2,3,200\nc2,s2,fear,a*,,,,\nc3,s3,,b,1,,2,30\n"
)
CORRECTIONS = (
    b"dataset,subject,clip,field,value,reason\nd,s1,c1,onset,3,late\nd,,c2,label,joy,seen\nd,s3,c3,exclude,1,bad\n"
)
PREDICTIONS = (
    b"experiment,repeat,fold,dataset,subject,clip,truth,predicted\ne,0,a,d,s1,c1,joy,joy\ne,0,b,d,s2,c2,fear,joy\n"
)
SPLITS = b"protocol,seed,fold,dataset,subject,clip,part\nloso,0,s1,d,s1,c1,test\nloso,0,s1,d,s2,c2,train\n"
CLIPS_TO_ASK = b"clip,frames,onset,apex,offset,fps,label\nc1,a,1,2,3,200,joy\nc2,b*,,,,,\nc3,b,1,,2,30,\n"
WORKBOOK = [
    ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"],
    [1, "S01-01-001", 1, 2, 3, "happiness"],
    ["S02", "S02-02-002", "4", "/", 6.0, "surprise"],
]
OVERLAY = {
    "study": "mine",
    "datasets": {"people": {"layout": "demo", "kind": "micro"}, "posed": {"layout": "demo", "kind": "macro"}},
    "experiments": {
        "a": {"system": "tsdgcn", "macro": "posed", "micro": "people", "graphs": ["8+2"], "seeds": [0, 1]},
        "b": {"system": "mersiamc3d", "micro": ["people"], "network": {"epochs": 3}, "loss": {"name": "focal"}},
        "c": {
            "system": "ststnet",
            "micro": "people",
            "selection": "nested",
            "grid": {"network.learning_rate": [0.1, 0.2]},
        },
    },
    "preparations": {"default": {"keyframes": "adaptive", "flow": {"backend": "numba"}}},
    "tables": {"t": {"of": "a", "rows": {"loss.alpha": [0.5, 1]}, "columns": {"loss.gamma": [1]}}},
    "figures": {"f": {"kind": "confusion", "of": ["a"], "title": "F"}},
    "floors": ["majority"],
    "head": {"epochs": 5},
}


def _config(data: bytes) -> None:
    try:
        overlay = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError):  # Snakemake reads the file, and says so.
        return
    if isinstance(overlay, dict):
        load_config(REPO / "config.yaml", overlay)


def targets(folder: Path) -> dict[str, tuple[list[bytes], Callable[[bytes], None]]]:
    """Every parser by name: good inputs, which are broken, and what reads them, with files in ``folder``."""
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number in (1, 2, 3):
            (folder / name / f"{number}.png").write_bytes(b"x")
    noise = np.random.default_rng(0).integers(0, 255, (12, 9), np.uint8)
    suffixes = (".png", ".jpg", ".bmp", ".pgm", ".tif", ".webp")
    pictures = [cv2.imencode(suffix, noise)[1].tobytes() for suffix in suffixes]
    book = openpyxl.Workbook()
    for row in WORKBOOK:
        book.active.append(row)
    book.save(folder / "seed.xlsx")
    as_csv = "\n".join(",".join(map(str, row)) for row in WORKBOOK).encode()
    columns = {name: [name] for name in ("Subject", "Filename", "OnsetFrame")}
    graph = build_graph(16, 4, 0)
    write_weights(FrameScorer().state_dict(), folder / "seed.safetensors", {"network": _NETWORK, "outcome": "{}"})
    scorer = (folder / "seed.safetensors").read_bytes()
    of_sgcn = {"network": "sgcn", "classes": '["a","b"]', "graph_digest": graph.digest, "outcome": '{"epoch": 1}'}
    write_weights(SGCN(graph, 2).state_dict(), folder / "seed.safetensors", of_sgcn)
    sgcn = (folder / "seed.safetensors").read_bytes()
    network = nn.Linear(2, 2)
    Checkpoints(folder / "kept", "about").next("x").save({"epoch": 1}, network)
    state = (folder / "kept" / "1.safetensors").read_bytes()

    def checkpoint(data: bytes) -> None:
        (folder / "kept" / "1.safetensors").write_bytes(data)
        loaded = Checkpoints(folder / "kept", "about").next("x").load(network, torch.optim.Adam(network.parameters()))
        _refuse_none(loaded, "training starts from the beginning")

    folds = '[{"fold": "s1", "network": "heads", "branch": [0, 1], "seed": 0, "member": 0}]'
    write_weights({"0/bias_1": torch.ones(3)}, folder / "seed.safetensors", {"folds": folds})
    models = (folder / "seed.safetensors").read_bytes()

    kinds = (("v.mp4", "libx264"), ("v.avi", "mpeg4"), ("v.mkv", "mpeg4"), ("v.ts", "mpeg2video"))
    videos = [write_video(folder / name, waves(8, 32, 48), encoder).read_bytes() for name, encoder in kinds]

    def header(data: bytes) -> None:
        assert image_size(data) == image_size(data)
        _refuse_none(image_size(data), "no header that is known")

    # The workbooks of these are CSV in the tree; 1E stands for a line end there.
    table = as_csv.replace(b"\n", b"\x1e").decode()
    mmew = [*(f"Micro_Expression/happiness/S01-01-001/{n}.jpg" for n in (1, 2, 3)), f"MMEW_Micro_Exp.csv\t{table}"]
    samm = [*(f"006/006_1_2/006_{n:05d}.jpg" for n in (1, 2, 3)), f"SAMM_Micro_FACS_Codes_v2.csv\t{table}"]
    casme2 = [*(f"CASME2-RAW/sub01/EP02_01f/img{n}.jpg" for n in (1, 2, 3)), f"CASME2-coding-20140508.csv\t{table}"]
    samm = [line.replace("S01-01-001", "006_1_2").replace("1,006", "6,006") for line in samm]
    casme2 = [line.replace("S01-01-001", "EP02_01f") for line in casme2]
    smic = [f"HS/s1/micro/negative/s1_ne_01/image{n:06d}.bmp" for n in (90823, 90824)]
    ck_plus = [f"cohn-kanade-images/S005/001/S005_001_{n:08d}.png" for n in (1, 2)]
    ck_plus.append("Emotion/S005/001/S005_001_00000002_emotion.txt\t3.0e+00")
    still = ["Macro_Expression/S01/fear/S01-05-001.jpg", "S02-01-002.jpg"]

    def workbook(name: str) -> Callable[[bytes], None]:
        return _file(folder, name, lambda file: read_workbook(file, columns))

    return {
        "manifest": ([MANIFEST], _file(folder, "manifest.csv", lambda f: _index(f.parent, "manifest"))),
        "corrections": ([CORRECTIONS], _file(folder, "fixes.csv", lambda f: read_corrections(f, "d", ["d"]))),
        "workbook csv": ([as_csv], workbook("w.csv")),
        "workbook xlsx": ([(folder / "seed.xlsx").read_bytes()], workbook("w.xlsx")),
        "flow images": (
            [b"dataset,subject,clip,label,image\nsamm,6,c1,joy,a/1.png\nsmic,7,c2,fear,b/2.png\n"],
            _file(folder, "flows.csv", lambda f: _index(f.parent, "flow-images")),
        ),
        "mmew names": ([_paths(*mmew)], _tree(folder, "mmew-micro")),
        "mmew macro names": ([_paths(*still)], _tree(folder, "mmew-macro")),
        "smic names": ([_paths(*smic)], _tree(folder, "smic-hs")),
        "ck-plus names": ([_paths(*ck_plus)], _tree(folder, "ck-plus")),
        "samm names": ([_paths(*samm)], _tree(folder, "samm")),
        "casme2 names": ([_paths(*casme2)], _tree(folder, "casme2")),
        "configuration": ([yaml.safe_dump(OVERLAY, sort_keys=False).encode()], _config),
        "picture headers": (pictures, header),
        "pictures": (pictures, _file(folder, "p.png", lambda f: read_image(f, cv2.IMREAD_GRAYSCALE))),
        "videos": (videos, _file(folder, "v.mp4", lambda f: (frame_rate(f), list(read_video(f, []))))),
        "scores": ([PREDICTIONS], _file(folder, "predictions.csv", lambda f: score_file(f, resamples=5))),
        "splits": ([SPLITS], _file(folder, "splits.csv", lambda f: list(read_splits(f)))),
        "tables": ([PREDICTIONS, SPLITS], _file(folder, "t.csv", lambda f: read_table(f, []))),
        "weights": ([sgcn], _file(folder, "w.safetensors", lambda f: load_network(f, graph))),
        "outcome": ([sgcn], _file(folder, "w.safetensors", outcome)),
        "scorer": ([scorer], _file(folder, "s.safetensors", load_scorer)),
        "checkpoint": ([state], checkpoint),
        "table of clips": ([CLIPS_TO_ASK], _file(folder, "ask.csv", lambda f: list_sources(str(f)))),
        "models": ([models], _file(folder, "m.safetensors", read_models)),
    }


def broken(seeds: list[bytes], dice: random.Random) -> bytes:
    """One broken input."""
    return changed(dice.choice(seeds), dice)


def main(count: int, only: str = "") -> int:
    """Try ``count`` inputs for each parser; prints how many were answered, refused and crashed."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (12_000_000_000, 12_000_000_000))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, (seeds, parse) in targets(Path(folder)).items():
            if only and only != name:
                continue
            outcomes: dict[str, int] = {"answered": 0, "refused": 0, "crashed": 0}
            seen = set()
            for seed in range(count):
                data = broken(seeds, random.Random(f"{name} {seed}"))
                try:
                    parse(data)
                    outcomes["answered"] += 1
                except MerflowError:
                    outcomes["refused"] += 1
                except Exception as error:
                    outcomes["crashed"] += 1
                    frame = [f for f in traceback.extract_tb(error.__traceback__) if "merflow/" in f.filename][-1]
                    place = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
                    if place not in seen:
                        seen.add(place)
                        print(f"{name}, seed {seed}: {place}: {str(error)[:150]}")
            failed += outcomes["crashed"]
            print(f"{name}: {count} inputs: {', '.join(f'{n} {word}' for word, n in outcomes.items())}", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:3]))
