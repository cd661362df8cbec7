"""Words of the results of a prediction.

A prediction applies a trained study to other clips. :mod:`merflow.study.prediction` lists the user's clips,
:mod:`merflow.inference.search` finds faces and candidate intervals, the preprocessing stages prepare them,
:mod:`merflow.inference.answers` applies the ensembles, and :mod:`merflow.inference.page` writes the page.
"""

UNCERTAIN = "uncertain"
"""The answer if no class is probable enough."""
WHOLE, GIVEN, SEARCHED = "whole", "given", "searched"
"""How a candidate was found: the whole clip, given by the user, or by a search."""
