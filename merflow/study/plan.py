"""The planners of a study, composed from its configuration."""

from typing import NamedTuple

from merflow.study.clip_checks import check_study
from merflow.study.config import Config
from merflow.study.data import Data
from merflow.study.ensembles import with_ensembles
from merflow.study.experiments import Experiments, with_floors
from merflow.study.figures import Figures
from merflow.study.paths import Paths
from merflow.study.publishing import Publishing
from merflow.study.recognition import Recognition
from merflow.study.spotting import Spotting
from merflow.study.training import Training, make_training


class Plan(NamedTuple):
    """The planners: each answers with names, paths and settings, and none opens a frame."""

    config: Config
    paths: Paths
    data: Data
    experiments: Experiments
    training: Training
    figures: Figures
    publishing: Publishing
    spotting: Spotting
    recognition: Recognition

    def check(self) -> None:
        """Check the study against its clips (:func:`merflow.study.clip_checks.check_study`)."""
        check_study(self.training)
        self.spotting.check()
        self.recognition.check()


def plan_study(config: Config) -> Plan:
    """Make the planners of a configuration."""
    paths = Paths(config.results, config.study)
    data = Data(config, paths)
    experiments = with_ensembles(config, with_floors(config, data))
    training = make_training(config, experiments, paths)
    figures, spotting = Figures(training), Spotting(training)
    publishing, recognition = Publishing(training, figures), Recognition(training, spotting)
    return Plan(config, paths, data, experiments, training, figures, publishing, spotting, recognition)
