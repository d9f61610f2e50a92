"""ESZSL's closed form against its own definition: the stationary point of the regularised loss."""

import torch

from pipeline.models import eszsl
from pipeline.protocol import judging, metrics, scoring, selection, tasks, trained
from tests import problems

CONFIG = eszsl.Config(gammas=[0, 1], lambdas=[-1, 0], wrong=-1, scale="none")


def test_the_gradient_of_the_papers_objective_is_zero():
    task = tasks.test_task(problems.benchmark(), "cpu")
    model = scoring.build(eszsl, task, CONFIG)
    trainer = model.trainer(task.problem, 0)
    assert trainer.epochs == 4
    problem = task.problem
    x, s = problem.features.double().T, problem.seen.double().T
    y = 2 * torch.nn.functional.one_hot(problem.labels, s.shape[1]).double() - 1
    for _ in range(trainer.epochs):
        pair = trainer.epoch()
        form = model.form.double().requires_grad_()
        # equation 4 with the regulariser of equation 5, beta = gamma lambda
        loss = (x.T @ form @ s - y).square().sum()
        loss = loss + pair["gamma"] * (form @ s).square().sum() + pair["lambda"] * (x.T @ form).square().sum()
        loss = loss + pair["gamma"] * pair["lambda"] * form.square().sum()
        (gradient,) = torch.autograd.grad(loss, form)
        assert gradient.abs().max() < 1e-3 * (x @ y @ s.T).abs().max()


def test_it_recognises_unseen_classes_of_the_made_up_benchmark():
    benchmark = problems.benchmark()
    task = tasks.test_task(benchmark, "cpu")
    chosen, rows = selection.select(benchmark, eszsl, CONFIG, selection.Selection(folds=1, checks=1), 0, "cpu", "eszsl")
    assert len(rows) == 4
    tensors, history = trained.train(task, eszsl, CONFIG, chosen, 0, "eszsl")
    assert len(history) == chosen["epoch"]
    figures = metrics.summary(judging.predictions(task, *trained.restore(task, eszsl, CONFIG, tensors)))
    assert figures["T1"] > 45
    assert figures["S"] > 30
