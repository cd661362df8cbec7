"""MSJFN: what its modules join, how predictions are fused and supervised, and that ablations change the graph."""

import pytest
import torch
from torch.nn import functional

from merflow.learning.fit import repeatable
from merflow.systems.msjfn import MSJFN


def made(**options):
    with repeatable(0):
        return MSJFN(3, dropout=0.0, width=4, **options).double().eval()


def images(count=5):
    return torch.randn(count, 3, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def reached(model, value):
    """Names of the parameters that a number depends on."""
    names, weights = zip(*model.named_parameters(), strict=True)
    slopes = torch.autograd.grad(value, weights, allow_unused=True)
    return {name for name, slope in zip(names, slopes, strict=True) if slope is not None and slope.abs().sum() > 0}


def parts(names):
    """Stages, modules and classifiers among names of parameters."""
    return {
        ".".join(name.split(".")[:2]) if name.startswith(("stages", "joint")) else name.split(".")[0] for name in names
    }


BACKBONE = {"stages.0", "stages.1", "stages.2", "stages.3", "classify"}


@pytest.mark.parametrize("modules", [0, 1, 2, 3])
def test_each_module_is_a_part_of_the_answer(modules):
    model = made(modules=modules)
    answer = reached(model, model(images())[:, 0].sum())
    assert parts(answer) == BACKBONE | {f"joint.{n}" for n in range(modules)}
    assert model.predictions(images()).shape == (1 + modules, 5, 3)


def test_without_fusion_backbone_predicts_modules_supervise():
    model, x, y = made(fusion="none"), images(), torch.tensor([0, 1, 2, 1, 0])
    assert parts(reached(model, model(x)[:, 0].sum())) == BACKBONE
    value, scores = model.supervise(x, y, functional.cross_entropy)
    assert parts(reached(model, value)) == BACKBONE | {"joint.0", "joint.1", "joint.2"}
    torch.testing.assert_close(scores, model.predictions(x)[0].log_softmax(1))


def test_uniform_fusion_is_the_mean_of_probabilities():
    model, x = made(), images()
    expected = model.predictions(x).softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(model(x).softmax(dim=1), expected)
    assert not torch.allclose(expected, model.predictions(x)[0].softmax(dim=1)), "the backbone alone is another answer"


def test_learned_fusion_is_a_mean_whose_weights_are_learnt():
    model, x = made(fusion="learned"), images()
    with torch.no_grad():
        model.weights.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
    weights = model.weights.softmax(dim=0)
    expected = (model.predictions(x).softmax(dim=2) * weights[:, None, None]).sum(dim=0)
    torch.testing.assert_close(model(x).softmax(dim=1), expected)
    assert "weights" in reached(model, model(x)[:, 0].sum())
    assert not hasattr(made(fusion="uniform"), "weights") and not hasattr(made(fusion="learned", modules=0), "weights")


def test_deep_supervision_asks_it_of_every_prediction():
    model, x, y = made(), images(), torch.tensor([0, 1, 2, 1, 0])
    value, scores = model.supervise(x, y, functional.cross_entropy)
    each = [functional.cross_entropy(scores, y) for scores in model.predictions(x)]
    fused = functional.nll_loss(model.predictions(x).softmax(dim=2).mean(dim=0).log(), y)
    torch.testing.assert_close(value, sum(each) + fused)
    torch.testing.assert_close(scores, model(x))
    alone = made(modules=0)
    value, _ = alone.supervise(x, y, functional.cross_entropy)
    torch.testing.assert_close(value, functional.cross_entropy(alone(x), y))


@pytest.mark.parametrize("modules", [1, 3])
def test_module_joins_neighbouring_stages_deepest_first(modules):
    model = made(modules=modules)
    assert model.indices == list(range(3 - modules, 3))
    for module, index in zip(model.joint, model.indices, strict=True):
        fine = torch.randn(2, 4 * 2**index, 8, 8, dtype=torch.float64)
        coarse = torch.randn(2, 8 * 2**index, 4, 4, dtype=torch.float64)
        expected = module(fine, coarse)
        assert not torch.allclose(expected, module(fine + 1, coarse)) and not torch.allclose(
            expected, module(fine, coarse + 1)
        )


@pytest.mark.parametrize("side", [16, 28, 56, 112])
def test_images_of_any_side(side):
    assert made()(torch.zeros(2, 3, side, side, dtype=torch.float64)).shape == (2, 3)
