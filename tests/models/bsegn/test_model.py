"""What is kept after training: mFIM, its scale, the classifier's set, and weights read back."""

import pytest
import torch
from torch.nn import functional as F

from pipeline.models import bsegn
from pipeline.models.base import Problem
from tests import configs
from tests.models.bsegn.small import begin, problem


@pytest.mark.parametrize(
    ("depth", "levels", "width"),
    [(1, 0, 10), (2, 0, 10), (1, 1, 10 + 16 + 5), (2, 1, 10 + 16 + 5), (2, 2, 10 + 16 + 12 + 5)],
)
def test_expand_concatenates_the_levels(depth, levels, width):
    given = problem()
    model, _ = begin(given, configs.bsegn(levels=levels, cycle={"depth": depth}))
    assert len(model.cycle.hidden) == depth
    inputs = model.encode(given.features)
    wide = model.expand(inputs)
    assert wide.shape == (40, width)
    torch.testing.assert_close(wide[:, :10], inputs)
    if levels:
        torch.testing.assert_close(wide[:, -5:], model.cycle(inputs))
        first = F.leaky_relu(model.cycle.hidden[0](inputs), 0.2)
        torch.testing.assert_close(wide[:, 10:26], first)


def test_mfim_is_all_that_its_first_level_changes():
    """The rung of the ladder: the same training, and the same fakes, whatever the classifier then reads."""
    given, made = problem(), []
    for levels in (0, 1):
        model, trainer = begin(given, configs.bsegn(levels=levels, cycle={"depth": 1}))
        made.append((trainer.epoch(), trainer.epoch(), *model.classifier_set(given, 0)))
    assert made[0][:2] == made[1][:2]
    assert all(torch.equal(without, with_it) for without, with_it in zip(made[0][2:], made[1][2:], strict=True))


def test_the_classifier_begins_as_the_networks_do():
    model, _ = begin(problem(), configs.bsegn())
    held = model.head(torch.rand(200, 5), 300, torch.Generator().manual_seed(0))
    assert held.shape == (200, 301)
    assert held[:, :-1].std().item() == pytest.approx(0.02, rel=0.02)
    assert not held[:, -1].any()


@pytest.mark.parametrize("fem", [{}, {"centre": True}, {"shared": True}, {"training": "frozen"}], ids=str)
@pytest.mark.parametrize("among", ["all", "unseen"])
def test_the_joint_prediction_begins_as_fem(fem, among):
    """Before any step of the classifier, and with weights of mFIM that are zero, it scores as FEM's own formula."""
    given = problem()
    model, trainer = begin(given, configs.bsegn(fem={"joint": 0.5} | fem))
    trainer.epoch()
    every = torch.cat([given.seen, given.unseen])
    semantics = every if among == "all" else given.unseen
    inputs = model.encode(given.features)
    wide = model.expand(inputs)
    held = model.head(semantics, wide.shape[1], torch.Generator().manual_seed(0))
    held[:, : wide.shape[1] - semantics.shape[1]] = 0
    net = model.cycle if "shared" in fem else trainer.fem
    middle = every.mean(0) if "centre" in fem else 0
    with torch.no_grad():
        cosine = F.cosine_similarity(net(inputs)[:, None], (semantics - middle)[None], dim=2)
    expected = 0.5 * cosine / trainer.config.fem.temperature
    torch.testing.assert_close(wide @ held[:, :-1].T + held[:, -1], expected, rtol=1e-4, atol=1e-4)


def test_without_a_joint_prediction_nothing_of_fem_is_kept():
    def width(**changes):
        model, _ = begin(problem(), configs.bsegn(**changes))
        kept = {name.partition(".")[0] for name in model.state_dict()}
        return "fem" in kept, model.expand(torch.zeros(1, 10)).shape[1]

    without, wide = width()
    assert not without
    assert width(fem={"joint": 1.0}) == (True, wide + 5)
    assert width(fem={"joint": 1.0, "shared": True}) == (False, wide + 5)


def test_what_fem_has_learned_reaches_the_saved_model():
    given = problem()
    model, trainer = begin(given, configs.bsegn(fem={"joint": 1.0}))
    trainer.epoch()
    other, _ = begin(given, configs.bsegn(fem={"joint": 1.0}), seed=3)
    other.load_state_dict(model.state_dict())
    inputs = model.encode(given.features)
    assert torch.equal(model.expand(inputs), other.expand(inputs))
    assert torch.equal(model.expand(inputs)[:, -5:], trainer.fem(inputs))


@pytest.mark.parametrize("levels", [0, 2])
def test_what_the_classifier_reads_is_standardised(levels):
    given = problem()
    given.features[:, 3] = 7
    model, trainer = begin(given, configs.bsegn(levels=levels, length=10.0))
    trainer.epoch()
    inputs, _ = model.classifier_set(given, 0)
    wide = model.expand(inputs[:40])
    assert torch.isfinite(model.expand(inputs)).all()
    torch.testing.assert_close(wide.mean(0), torch.zeros(wide.shape[1]), atol=1e-3, rtol=0)
    # one dimension is constant, and a hidden unit may all but be; the others share the length
    raw = model._integrated(inputs[:40]).std(0, correction=0)
    deviation = wide[:, raw > 2e-3 * raw.mean()].std(0, correction=0)
    assert len(deviation) >= wide.shape[1] - 2
    torch.testing.assert_close(deviation, torch.full_like(deviation, 10 / wide.shape[1] ** 0.5), rtol=1e-3, atol=1e-3)
    assert wide[:, 3].abs().max() < 1e-3
    fresh = bsegn.Model(10, 5, 6, 3, model.config)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.expand(inputs), model.expand(inputs))


def test_the_scale_is_fitted_anew_after_each_epoch():
    given = problem()
    model, trainer = begin(given, configs.bsegn(length=10.0, cycle={"lr": 0.1}))
    spreads = []
    for _ in range(3):
        trainer.epoch()
        spreads.append(model.spread.clone())
        wide = model.expand(model.encode(given.features))
        torch.testing.assert_close(wide.mean(0), torch.zeros(wide.shape[1]), atol=1e-3, rtol=0)
    assert not torch.allclose(spreads[0], spreads[1], rtol=1e-2)
    assert not torch.allclose(spreads[1], spreads[2], rtol=1e-2)


@pytest.mark.parametrize("unseen_only", [False, True])
def test_making_a_set_leaves_the_model_as_it_is(unseen_only):
    """Whatever images come with it: for new classes it is given a blank one."""
    given = problem()
    model, trainer = begin(given, configs.bsegn(length=10.0))
    trainer.epoch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    blank = Problem(torch.zeros(1, 10), torch.zeros(1, dtype=torch.int64), given.seen, given.unseen)
    inputs, labels = model.classifier_set(given, 0)
    blank_inputs, blank_labels = model.classifier_set(blank, 0, unseen_only)
    assert torch.equal(blank_inputs[blank_labels >= 6], inputs[labels >= 6])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_classifier_set_has_real_seen_and_synthetic_unseen_features():
    given = problem()
    model, trainer = begin(given, configs.bsegn())
    trainer.epoch()
    inputs, labels = model.classifier_set(given, 3)
    assert inputs.shape == (40 + 3 * 6, 10)
    torch.testing.assert_close(inputs[:40], model.encode(given.features))
    assert torch.equal(labels[:40], given.labels)
    assert labels[40:].tolist() == [6] * 6 + [7] * 6 + [8] * 6
    assert ((inputs[40:] > 0) & (inputs[40:] < 1)).all()
    assert torch.equal(inputs, model.classifier_set(given, 3)[0])
    assert not torch.equal(inputs, model.classifier_set(given, 4)[0])


@pytest.mark.parametrize(("proportion", "each"), [(3.0, 40), (0.5, 7), (0.001, 1)])
def test_synthetic_features_in_proportion_to_the_real_ones_of_training(proportion, each):
    """40 images and 3 unseen classes; what comes later, to be predicted or drawn, may hold fewer."""
    given = problem()
    model, _ = begin(given, configs.bsegn(synthetic=None, proportion=proportion))
    assert torch.bincount(model.classifier_set(given, 0)[1], minlength=9)[6:].tolist() == [each] * 3
    few = Problem(given.features[:4], given.labels[:4], given.seen, given.unseen[:2])
    assert torch.bincount(model.classifier_set(few, 0, unseen_only=True)[1], minlength=8)[6:].tolist() == [each] * 2


@pytest.mark.parametrize("many", [{"synthetic": 6}, {"synthetic": None, "proportion": 2.0}])
def test_a_model_is_restored_from_sizes_and_weights_alone(many):
    given = problem()
    model, trainer = begin(given, configs.bsegn(**many))
    trainer.epoch()
    fresh = bsegn.Model(10, 5, 6, 3, configs.bsegn(**many))
    fresh.load_state_dict(model.state_dict())
    for mine, theirs in zip(fresh.classifier_set(given, 0), model.classifier_set(given, 0), strict=True):
        assert torch.equal(mine, theirs)
    inputs = model.encode(given.features)
    assert torch.equal(fresh.expand(inputs), model.expand(inputs))


def test_learning_learns():
    """Images synthesised for an unseen class lie nearest to where its real images would be, which no one showed."""
    given = problem(d_x=24, d_a=8, seen=12, unseen=4, images=240)
    options = configs.bsegn(lr=2e-3, gamma=1.0, batch=32, synthetic=50)
    model, trainer = begin(given, options)
    first, *_, last = [trainer.epoch() for _ in range(25)]
    assert last["reconstruction"] < first["reconstruction"]
    assert last["v2s"] < first["v2s"] - 1
    generator = torch.Generator().manual_seed(0)
    torch.rand(16, 8, generator=generator)
    mixing = torch.randn(8, 24, generator=generator)
    centres = model.scale(given.unseen @ mixing)
    inputs, labels = model.classifier_set(given, 0)
    fakes = torch.stack([inputs[labels == 12 + c].mean(0) for c in range(4)])
    assert (torch.cdist(fakes, centres).argmin(1) == torch.arange(4)).sum() >= 3
