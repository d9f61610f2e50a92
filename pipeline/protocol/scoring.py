"""From a model and a task to scores: the model built, its linear classifiers, what they say of the judged images."""

import gc

import torch

from pipeline.models.base import classifier


def build(module, task, config):
    """A model of the task's sizes on its device."""
    # a trainer and the step it captured hold each other; without this the last ones would lie in a GPU's memory still
    gc.collect()
    problem = task.problem
    sizes = problem.features.shape[1], problem.seen.shape[1], len(problem.seen), len(problem.unseen)
    return module.Model(*sizes, config).to(problem.features.device)


def heads(model, task, config, seed, gzsl_epochs, czsl_epochs):
    """Two iterators: the linear classifier over all classes and over unseen classes alone, after each of its epochs.

    A model without a trained classifier gives one of each, whose weights are the classes' semantics.
    """
    seen = len(task.seen)
    made = model.classifier_set(task.problem, seed)
    if made is None:
        weight = torch.cat([task.problem.seen, task.problem.unseen])
        zeros = weight.new_zeros(len(weight))
        return iter([classifier.Head(weight, zeros)]), iter([classifier.Head(weight[seen:], zeros[seen:])])
    inputs, labels = model.classifier_set(task.problem, seed, unseen_only=True)
    options = config.classifier, seed
    return (
        classifier.epochs(*made, seen + len(task.unseen), *options, gzsl_epochs, model),
        classifier.epochs(inputs, labels - seen, len(task.unseen), *options, czsl_epochs, model),
    )


@torch.no_grad()
def scores(task, model, gzsl, czsl, encoded=None):
    """Scores of the judged images: M x C over all classes, and of the rows of unseen classes over those alone.

    encoded: the images' inputs and what remains to be done to each batch of them, where the caller has them
    """
    inputs, expand = encoded or (model.encode(task.features), model.expand)
    unseen = torch.from_numpy(task.labels >= len(task.seen)).to(inputs.device)
    over_all = classifier.scores(gzsl, inputs, expand)
    over_unseen = classifier.scores(czsl, inputs[unseen], expand)
    return over_all.cpu().numpy(), over_unseen.cpu().numpy()
