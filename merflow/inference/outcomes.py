"""A trained study looks at other clips: a video, a folder or a table of them, without labels.

:mod:`~merflow.study.prediction` lists what was given and names the files, :mod:`~merflow.inference.search` finds faces
and candidate intervals, the stages of the library prepare them as they prepared what was trained on,
:mod:`~merflow.inference.answers` asks the ensembles and what drove them, :mod:`~merflow.inference.page` writes it all
down.
"""

UNCERTAIN = "uncertain"
"""The answer where no class is probable enough."""
WHOLE, GIVEN, SEARCHED = "whole", "given", "searched"
"""How a candidate was found: the clip as it is, as the user said, or by a search."""
