"""Synthetic people for the demo and the tests: their faces, their expressions and the truth about every pixel's motion.

:mod:`~merflow.demo.plan` decides, :mod:`~merflow.demo.draw` and :mod:`~merflow.demo.portraits` make a neutral face,
:mod:`~merflow.demo.expressions` says how it moves, :mod:`~merflow.demo.render` films it and
:mod:`~merflow.demo.truth` tells how far each pixel really went. Nothing here is a claim about people.
"""
