"""From a model and a task to linear classifiers: the model built, and both heads after each epoch of theirs."""

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
    seen, unseen = len(task.seen), task.problem.unseen
    semantics = torch.cat([task.problem.seen, unseen])
    made = model.classifier_set(task.problem, seed)
    if made is None:
        zeros = semantics.new_zeros(len(semantics))
        return iter([classifier.Head(semantics, zeros)]), iter([classifier.Head(unseen, zeros[seen:])])
    inputs, labels = model.classifier_set(task.problem, seed, unseen_only=True)
    options = config.classifier, seed
    return (
        classifier.epochs(*made, semantics, *options, gzsl_epochs, model),
        classifier.epochs(inputs, labels - seen, unseen, *options, czsl_epochs, model),
    )
