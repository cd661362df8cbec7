"""Synthetic people for the demo and the tests: their faces, their expressions and the true motion of every pixel.

:mod:`~merflow.datasets.synthetic.plan` decides what each clip shows, :mod:`~merflow.datasets.synthetic.draw` and
:mod:`~merflow.datasets.synthetic.portraits` make a neutral face, :mod:`~merflow.datasets.synthetic.expressions` defines
how it moves, :mod:`~merflow.datasets.synthetic.render` renders the frames and
:mod:`~merflow.datasets.synthetic.truth` computes the true motion. Nothing here is a claim about
people.
"""
