import re
import subprocess
from copy import deepcopy

import pytest
import yaml
from configurations import BASE, experiment, plan
from repository import REPO

from merflow.errors import ConfigError
from merflow.study.config import Config
from merflow.study.config_errors import RENAMED
from merflow.study.load import load_config


def problems(overlay) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(BASE, overlay)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"study: mine\ndemo:\n\tseed: 1\n",
            "mine.yaml, line 3: found character '\\t' that cannot start any token; indent",
        ),
        (b"study: mine\ndemo: {seed: 1\n", "mine.yaml, line 3: expected ',' or '}', but got '<stream end>'; indent"),
        (b"study: mine\ntitle: a: b\n", "mine.yaml, line 2: mapping values are not allowed here; indent"),
        (b"study: M\xfcller\n", "mine.yaml cannot be read: it is not text in UTF-8; name"),
        (b"- study\n", "mine.yaml: expected keys such as `study: mine`, found \"['study']\""),
        (None, "mine.yaml cannot be read: No such file or directory; name a configuration file"),
    ],
)
def test_unreadable_configuration_is_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "mine.yaml", {})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_make_run_takes_a_configuration():
    command = ["make", "--no-print-directory", "-n", "run", "CONFIG=mine.yaml"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    run, summary = done.stdout.splitlines()[-2:]
    assert "-m merflow run " in run and run.endswith("--no-hooks --config mine.yaml")
    assert summary.endswith("-m merflow.runtime.summary mine.yaml")


def keyframes(block, **changes):
    return {"preparations": {"default": {"keyframes": block}}} | changes


def flow(**keys):
    return {"preparations": {"default": {"flow": keys}}}


def people(repertoire="annotated", kind="micro", layout="demo", subjects=2):
    """Overlay with a dataset whose people are its own."""
    block = {
        "layout": layout,
        "root": ".",
        "kind": kind,
        "people": {"subjects": subjects, "clips": {"fear": 2, "anger": 1}},
    }
    svm = {"svm": {"system": "linear-svm", "micro": "drawn"}}
    return {"demo": {"repertoire": repertoire}, "datasets": {"drawn": block}, "experiments": svm}


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            {"demo": {"repertoire": "prototypes", "emotions": ["others", "fear"]}},
            "demo.emotions: others has no prototype; leave it out",
        ),
        (people(repertoire="prototypes"), "datasets.drawn.people: needs demo.repertoire: annotated"),
        (people(kind="macro"), "datasets.drawn.people: only for layout demo with kind: micro"),
        (people(layout="manifest"), "datasets.drawn.people: only for layout demo with kind: micro"),
        (people(subjects=4), "datasets.drawn.people: this block is not allowed; every person needs a clip"),
        ({"studdy": "x"}, "studdy: unknown key (did you mean `study`?)"),
        ({"study": "data"}, "study: 'data' is reserved"),
        ({"study": 3}, "study: 3 is not allowed; expected a string"),
        ({"preparations": {"default": {"align": {"size": "big"}}}}, "default.align.size: 'big' is not allowed"),
        ({"preparations": {"default": {"align": {"landmarks": 7}}}}, "landmarks: 7 is not allowed; allowed: 5, 68"),
        ({"head": {"epochs": 1.5}}, "head.epochs: 1.5 is not allowed; expected a whole number"),
        ({"graph": {"sigma": "wide"}}, "graph.sigma: 'wide' is not allowed; expected"),
        ({"datasets": {"mine": {"layout": "manifest"}}}, "datasets.mine: missing root"),
        ({"datasets": {"x": {"layout": "demo"}}}, "experiments: an empty block is not allowed; expected a block"),
        ({"datasets": {"a/b": {"layout": "demo"}}}, "the name 'a/b' is not allowed"),
        ({"demo": {"portraits": "/no/such/folder"}}, "demo.portraits: folder /no/such/folder does not exist"),
        (experiment(graphs=["8+"]), "experiments.mine.graphs.0: '8+' is not allowed: a graph such as \"8+2\""),
        (experiment(graphs=["0+0"]), "experiments.mine.graphs.0: '0+0' is not allowed"),
        (experiment(micro="people"), "experiments.mine.micro: no dataset 'people'; there are: demo-macro, demo-micro"),
        (experiment(micro="demo-macro"), "dataset 'demo-macro' is of kind macro, expected micro"),
        (experiment(prep="fine"), "experiments.mine.prep: no preparation 'fine'; there are: default"),
        (experiment(graphs=["8+2", "08+2"]), "experiments.mine.graphs.1: '08+2' is not allowed"),
        (experiment(graphs=["20+5"]), "experiments.mine.graphs.0: 20+5 is more than the 24 neighbours within T"),
        ({"experiments": {1: {"system": "majority", "micro": "demo-micro"}}}, "experiments: the name 1 is not allowed"),
        (experiment(loss={"alpha": 0}), "experiments.mine.loss.alpha: 0 is not allowed; expected"),
        (experiment(macro="none", pretrain={"exclude_test_subjects": True}), "no pre-training with macro: none"),
        (experiment(macro="none", pretrain={"together": True}), "together: there is no pre-training with macro: none"),
        (experiment(macro="none", transfer="frozen"), "mine.transfer: with macro: none there are no trained networks"),
        (flow(backend="farneback", tau=0.1, warps=5), "flow.warps: farneback does not read it; leave it out"),
        (experiment(sgcn={"layers": 4}), "mine.sgcn: only networks that are not pre-trained (macro: none)"),
        (experiment(temporal={"signal": "channels"}), "channels needs macro: none and branches: [temporal]"),
        (experiment(macro="none", temporal={"signal": "channels"}), "channels needs macro: none and branches"),
        (keyframes("adaptve"), "method: 'adaptve' is not allowed; allowed: motion, adaptive, uniform, proportional"),
        (keyframes(3), "preparations.default.keyframes: 3 is not allowed; expected a block of keys"),
        (keyframes({"methods": "uniform"}), "keyframes.methods: unknown key (did you mean `method`?)"),
        (keyframes({"learn_from": "demo-macro"}), "keyframes.learn_from: only method: adaptive learns"),
        (keyframes({"method": "uniform", "learn_from": "demo-macro"}), "learn_from: only method: adaptive learns"),
        (keyframes({"interpolate": True}), "keyframes.interpolate: it is for method: proportional"),
        (keyframes({"method": "adaptive", "learn_from": "no"}), "learn_from: no dataset 'no'; there are: demo-macro"),
        ({"datasets": {"_drawn": {"layout": "demo"}}}, "the name '_drawn' is not allowed"),
        (experiment(head={"epoch": 3}), "experiments.mine.head.epoch: unknown key (did you mean `epochs`?)"),
    ],
)  # fmt: skip
def test_problems_name_key_and_allowed_values(overlay, message):
    assert message in problems(overlay)


def test_missing_folder_is_named(tmp_path):
    missing = {"mine": {"layout": "manifest", "root": str(tmp_path / "gone")}}
    text = problems({"datasets": missing, "experiments": {"svm": {"system": "linear-svm", "micro": "mine"}}})
    assert f"datasets.mine.root: folder {tmp_path / 'gone'} does not exist" in text


def test_all_problems_come_in_one_message():
    text = problems({"studdy": 1, "head": {"epochs": 0}, "graph": {"side": 4}})
    assert text.count("\n  - ") == 3


def test_datasets_and_experiments_replace_those_of_the_demo(tmp_path):
    (tmp_path / "manifest.csv").write_text("clip,subject,label,frames\n")
    settled = load_config(
        BASE,
        {
            "study": "mine",
            "datasets": {"people": {"layout": "manifest", "root": str(tmp_path)}},
            "experiments": {"svm": {"system": "linear-svm", "micro": "people"}},
            "preparations": {"default": {"align": {"size": 231}}},
        },
    )
    assert list(settled.datasets) == ["people"]
    assert list(settled.experiments) == ["svm"]
    align = settled.preparations["default"].align
    assert align.size == 231 and align.crop == 2.6, "other blocks are merged key by key"


def test_experiment_overrides_blocks_of_the_study():
    settled = load_config(BASE, experiment(head={"epochs": 7}))
    base = load_config(BASE, {})
    expected = base.head.model_copy(
        update={"epochs": 7, "learning_rate": 1e-5, "batch": 4, "epoch_choice": "validation"}
    )
    assert settled.experiments["mine"].head == expected


def test_load_config_does_not_change_the_overlay():
    overlay = experiment()
    before = deepcopy(overlay)
    load_config(BASE, overlay)
    assert overlay == before


# --- Adaptive key-frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["motion", "adaptive", "uniform"])
def test_keyframes_word_is_short_for_its_method(method):
    settled = load_config(BASE, keyframes(method))
    assert settled == load_config(BASE, keyframes({"method": method}))
    keyframes_block = settled.preparations["default"].keyframes.model_dump()
    assert keyframes_block == {
        "method": method,
        "count": 5,
        "apex": "annotated",
        "interpolate": False,
        "learn_from": None,
    }
    assert load_config(BASE, {}).preparations["default"].keyframes.method == "motion"


def test_keyframes_word_keeps_other_keys_of_the_base(tmp_path):
    base = tmp_path / "config.yaml"
    base.write_text(BASE.read_text().replace("count: 5  ", "count: 7  "))
    assert load_config(base, keyframes("adaptive")).preparations["default"].keyframes.count == 7


def test_scorer_cannot_learn_from_flow_images(tmp_path):
    (tmp_path / "flows.csv").write_text("image,subject,label\n")
    overlay = experiment()
    overlay["datasets"]["flows"] = {"layout": "flow-images", "root": str(tmp_path)}
    overlay |= keyframes({"method": "adaptive", "learn_from": "flows"})
    assert "keyframes.learn_from: 'flows' holds flow images; name a dataset of moving clips" in problems(overlay)


@pytest.mark.parametrize(("key", "value"), [("align", "auto"), ("bit_depth", 12)])
def test_flow_images_have_no_settings_of_frames(tmp_path, key, value):
    (tmp_path / "flows.csv").write_text("image,subject,label\n")
    overlay = experiment()
    overlay["datasets"]["flows"] = {"layout": "flow-images", "root": str(tmp_path), key: value}
    assert f"datasets.flows.{key}: flow images have no frames to align" in problems(overlay)


def keys_of(schema, definitions, prefix=""):
    """Every key below a schema, with its own schema."""
    for name, inner in schema.get("properties", {}).items():
        yield prefix + name, inner
        variants = [inner, inner.get("additionalProperties", {}), *inner.get("patternProperties", {}).values()]
        variants += inner.get("anyOf", [])
        for variant in (variant for variant in variants if isinstance(variant, dict) and "$ref" in variant):
            block = definitions[variant["$ref"].rpartition("/")[2]]
            yield from keys_of(block, definitions, f"{prefix}{name}.")


def test_config_yaml_shows_every_key_and_each_has_a_description():
    schema = Config.model_json_schema()
    words = set(re.findall(r"[\w-]+", BASE.read_text()))
    keys = dict(keys_of(schema, schema["$defs"]))
    assert len(keys) > 150
    for key, inner in keys.items():
        assert key.split(".")[-1] in words, f"config.yaml does not show {key}"
        assert inner.get("description") or "$ref" in inner, f"the models do not describe {key}"
    for name, block in schema["$defs"].items():
        assert block["description"], f"{name} has no description"


def test_config_yaml_shows_defaults_of_preparations_and_blocks():
    shown, minimal = yaml.safe_load(BASE.read_text()), {"study": "x"}
    minimal |= {"datasets": {"d": {"layout": "demo"}}, "experiments": {"e": {"system": "majority", "micro": "d"}}}
    defaults = Config.model_validate(minimal).model_dump(by_alias=True)
    for block in shown.keys() - {"study", "datasets", "experiments"}:
        assert shown[block] == defaults[block], block


@pytest.mark.parametrize("key", RENAMED)
def test_renamed_key_is_answered_with_its_new_name(key):
    *parents, name = key.replace("*", "mine").split(".")
    block = {name: 1}
    for parent in reversed(parents):
        block = {parent: block}
    overlay = experiment()
    overlay["experiments"]["mine"] |= block.pop("experiments", {}).get("mine", {})
    assert f"{key.replace('*', 'mine')}: this key is now called `{RENAMED[key]}`" in problems(overlay | block)


def test_defaults_of_tsdgcn_depend_on_pretraining():
    """At 1e-5 a network without pre-training stays at chance for 100 epochs."""
    changes = {
        "pretrained": {},
        "untrained": {"macro": "none", "branches": ["temporal"]},
        "given": {"macro": "none", "head": {"learning_rate": 0.01, "batch": 8}},
        "further": {"transfer": "end-to-end"},
    }
    base = {"system": "tsdgcn", "macro": "demo-macro", "micro": "demo-micro"}
    made = load_config(BASE, {"experiments": {name: base | change for name, change in changes.items()}}).experiments
    assert [made[name].head.learning_rate for name in changes] == [1e-5, 5e-4, 0.01, 1e-5]
    assert [made[name].head.batch for name in changes] == [4, 64, 8, 4]
    assert [made[name].head.epoch_choice for name in changes][:2] == ["validation", "refit"]
    assert [made[name].spatial.relative for name in changes] == [True, True, True, False]
    assert [made[name].fusion for name in changes] == ["clip", "stack", "stack", "clip"]


# --- Networks that read clips -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": {"prior": False}},
            "mine.network.prior: msjfn has no such key (its options: side, width, modules, fusion)",
        ),
        ({"network": {"modules": 4}}, "mine.network.modules: 4 is not allowed; allowed: 0, 1, 2, 3"),
        (
            {"network": {"side": 16}},
            "mine.network.side: 16 is not allowed; expected a whole number at least 20",
        ),
        (
            {"network": {"fusion": "best"}},
            "mine.network.fusion: 'best' is not allowed; allowed: uniform, learned, none",
        ),
        ({"head": {"epochs": 3}}, "mine.head: msjfn does not read it; give its keys under `network`"),
        ({"macro": "none", "fusion": "stack"}, "mine.fusion: msjfn does not read it; leave it out"),
        ({"loss": {"gamma": 2}}, "mine.loss.gamma: cross-entropy has no such parameter; give loss: {name: focal} too"),
        ({"grid": {"loss.gamma": [0, 2]}}, "mine.grid: loss.gamma: cross-entropy has no such parameter"),
        ({"grid": {"network.side": [28, 56]}}, "mine.grid: network.side decides what is read of a clip, once for all"),
        ({"grid": {"network.epoch_choice": ["fixed"]}}, "mine.grid: network.epoch_choice decides which clips train"),
        ({"network": {"epoch_choice": "last"}}, "'last' is not allowed; allowed: validation, refit, fixed, average"),
        (
            {"grid": {"network.prior": [True, False]}},
            "mine.grid: msjfn has no network.prior; its options: side, width",
        ),
        (
            {"grid": {"network.modules": [2, 5]}},
            "mine.grid, network.modules: experiments.mine.network.modules: 5 is not",
        ),
    ],
)
def test_problems_of_networks_name_key_and_options(changes, message):
    changes = ({"selection": "nested"} if "grid" in changes else {}) | changes
    assert message in problems(experiment() | network(**changes))


def network(**changes):
    return {"experiments": {"mine": {"system": "msjfn", "micro": "demo-micro"} | changes}}


def test_ways_of_training_reach_the_jobs_of_experiments_and_floors():
    overlay = network(loss={"weights": "balanced"}, network={"epoch_choice": "average", "average_seeds": 3})
    overlay["experiments"]["frozen"] = {"system": "tsdgcn", "macro": "demo-macro", "micro": "demo-micro"}
    overlay["experiments"]["nothing"] = overlay["experiments"]["frozen"] | {"macro": "none", "augment": {"shift": 0.1}}
    overlay |= {"floors": ["ststnet", "linear-svm"], "augment": {"mirror": False}, "network": {"schedule": "cosine"}}
    study = plan(overlay)
    settings = {name: study.training.clip_network_settings(name, 0) for name in ("mine", "ststnet")}
    for job in settings.values():
        assert job.augment is not None and not job.augment.mirror and job.network.schedule.cosine
    mine = settings["mine"]
    assert (mine.members, mine.loss.weights, mine.loss.name) == (3, "balanced", "cross-entropy")
    assert mine.network.average and mine.selection.epoch == "average"
    assert study.training.fold_settings("nothing", 0).augment.shift == 0.1
    assert study.training.linear_settings("linear-svm").members == 1
    text = {name: e.training for name, e in study.publishing.report_settings().experiments.items()}
    assert "mean of the last weights" in text["mine"] and "mean of 3 networks" in text["mine"]
    assert "augmented" in text["nothing"] and "augmented" not in text["frozen"] and not text["linear-svm"]


@pytest.mark.parametrize(
    "changes", [{"system": "linear-svm"}, {"system": "tsdgcn", "macro": "demo-macro"}], ids=["linear", "frozen"]
)
def test_augment_where_nothing_is_augmented_is_refused(changes):
    message = "experiments.mine.augment: only networks that train inside the fold read it; leave it out"
    assert message in problems(network(**changes, augment={"mirror": False}))


def test_networks_have_their_own_defaults():
    overlay = network(network={"modules": 1})
    overlay["experiments"]["siamese"] = {"system": "mersiamc3d", "micro": "demo-micro", "loss": {"gamma": 3.0}}
    overlay["network"] = {"epochs": 7, "prior_epochs": 5, "width": None}
    config = load_config(BASE, overlay)
    mine, siamese = (config.experiments[name] for name in ("mine", "siamese"))
    assert (mine.network.epochs, mine.network.modules, mine.network.width) == (7, 1, 16)
    assert mine.network.prior_epochs is None and siamese.network.prior_epochs == 5 and siamese.network.prior is True
    assert siamese.loss.model_dump() == {"name": "focal", "alpha": 1.0, "gamma": 3.0, "weights": "none"}
    assert mine.loss.name == "cross-entropy"


def test_table_of_a_network_suggests_a_figure():
    overlay = network() | {"tables": {"t": {"of": "mine", "rows": {"network.modules": [0, 1]}}}}
    expected = "tables.t.of: tables are only for tsdgcn; give variants of 'mine' as experiments"
    assert expected in problems(overlay)


def test_null_in_a_table_is_refused():
    overlay = experiment() | {"tables": {"t": {"of": "mine", "rows": {"temporal.normalise": [None, "image"]}}}}
    assert "tables.t: temporal.normalise: null is not allowed in a table; write the value" in problems(overlay)
