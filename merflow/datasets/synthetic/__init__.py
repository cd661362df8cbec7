"""Synthetic people for the demo and the tests: their faces, their expressions and the truth about every pixel's motion.

:mod:`~merflow.datasets.synthetic.plan` decides, :mod:`~merflow.datasets.synthetic.draw` and
:mod:`~merflow.datasets.synthetic.portraits` make a neutral face, :mod:`~merflow.datasets.synthetic.expressions` says
how it moves, :mod:`~merflow.datasets.synthetic.render` films it and :mod:`~merflow.datasets.synthetic.truth` tells how
far each pixel really went. Nothing here is a claim about people.
"""
