from configurations import experiment, plan

from merflow.study.config import Config
from merflow.study.sharing import shared_config, shared_report_settings

HOME = "/home/somebody"


def test_shared_configuration_names_no_folder_of_the_user():
    study = plan(experiment())
    own = {"layout": "manifest", "root": f"{HOME}/people", "table": f"{HOME}/people/m.csv"}
    own["corrections"] = f"{HOME}/own.csv"
    settings = study.config.model_dump(by_alias=True)
    settings |= {name: f"{HOME}/{name}" for name in ("results", "clips", "corrections")}
    settings["demo"]["portraits"] = f"{HOME}/portraits"
    settings["datasets"]["own"] = own
    shared = shared_config(Config.model_validate(settings))
    assert HOME not in str(shared)
    expected = {"layout": "manifest", "root": "/path/to/own", "table": "m.csv", "corrections": "own.csv"}
    assert shared["datasets"]["own"] == expected | {"on_problem": "skip-clip"}
    assert shared["corrections"] == "/path/to/corrections" and shared["demo"]["portraits"] == "/path/to/portraits"
    assert shared["experiments"] == study.config.model_dump(by_alias=True, exclude_none=True)["experiments"]


def test_shared_report_shows_neither_graphs_nor_folders():
    study = plan(experiment())
    settings = shared_report_settings(study.publishing)
    assert settings.shared and settings.graphs == {} and "results" not in settings.config
    assert not study.publishing.report_settings().shared
