"""What speaks for a class sums to what attributes explain of its score, and the average photograph says nothing."""

import torch

from pipeline.common import params
from pipeline.models.base import registry as models
from pipeline.protocol import reading, scoring, tasks
from tests import configs, problems
from tests.report import made_up

CPU = torch.device("cpu")


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_shares_sum_to_what_they_explain():
    read, semantics, average = random(4, 6), random(4, 3, 6), random(6)
    held = reading.Reading(torch.eye(6), torch.zeros(6), average)
    explained = torch.einsum("md,mcd->mc", read, semantics - average)
    torch.testing.assert_close(held.shares(read, semantics).sum(-1), explained)


def test_what_speaks_is_the_part_of_the_shares_that_is_more_on_both_sides():
    read, semantics, average = random(4, 6), random(4, 3, 6), random(6)
    held = reading.Reading(torch.eye(6), torch.zeros(6), average)
    both = (read[:, None] > 0) & (semantics > average)
    shares = held.shares(read, semantics)
    assert torch.equal(held.speaking(read, semantics), torch.where(both, shares, torch.zeros_like(shares)))
    assert both.any()
    assert (shares[~both] > 0).any()  # less of it on both sides is no evidence, though the product is positive


def test_the_average_photograph_reads_as_nothing():
    task = tasks.test_task(problems.benchmark(), CPU)
    own = params.build(models.get("eszsl").Config, made_up.ESZSL, "eszsl")
    for name, config in (("eszsl", own), ("hsva", configs.hsva(epochs=1)), ("bsegn", configs.bsegn())):
        model = scoring.build(models.get(name), task, config)
        trainer = model.trainer(task.problem, 0)
        trainer.epoch()
        made = model.classifier_set(task.problem, 0)
        weight, centre, _ = reading.of_model(model, task.problem, made)
        held = reading.Reading(weight, centre, torch.zeros(len(weight)))
        inputs = model.encode(task.problem.features) if made is None else made[0][:]
        mean = held(inputs).mean(0)
        assert mean.abs().max() < 1e-5 * held(inputs).abs().max()
