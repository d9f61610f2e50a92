"""The figures of one training on the test images, and what they are symptoms of: a row of a study."""

import torch
from safetensors.torch import load
from torch.nn.functional import normalize

from pipeline.models.base.rows import encoded
from pipeline.protocol import judging, metrics, reading, tasks, trained

SYMPTOMS = ("unseen_as_seen", "seen_confidence", "unseen_confidence")


def judge(our, chosen, model):
    """Figures of a `Setting` on the test images, in percent; model: the bytes of the model.safetensors of it."""
    task = tasks.test_task(our.benchmark, our.device)
    model, gzsl, czsl = trained.restore(task, our.module, our.config, load(model))
    figures = metrics.summary(judging.predictions(task, model, gzsl, czsl), chosen["constant"])
    return figures | symptoms(task, model, gzsl, our.seed)


def on_validation(chosen):
    """The chosen epochs and the figures on validation, as a row of a study has them."""
    epochs = {name: chosen[name] for name in ("epoch", "gzsl_epoch", "czsl_epoch")}
    return epochs | {f"validation_{name}": chosen["validation"][name] for name in metrics.FIGURES}


@torch.no_grad()
def symptoms(task, model, head, seed):
    """What the BSeGN abstract complains of, measured alike for every model that synthesises, in percent.

    unseen_as_seen: share of synthesised unseen inputs that a linear embedding into the semantics, fitted on real images
    of seen classes alone, puts nearest to a seen class
    seen_confidence, unseen_confidence: mean over the judged images of seen (unseen) classes of the largest
    probability of a seen (unseen) class, under the classifier over all classes
    head: the classifier over all classes. Nothing for a model that synthesises nothing.
    """
    made = model.classifier_set(task.problem, seed, unseen_only=True)
    if made is None:
        return {}
    problem = task.problem
    semantics = problem.seen[problem.labels]
    weight, centre = reading.fit(encoded(model, problem.features), semantics)
    embedded = normalize((made[0] - centre) @ weight.T + semantics.mean(0))
    taken = (embedded @ torch.cat([problem.seen, problem.unseen]).T).argmax(1)
    seen, of_seen = len(task.seen), task.seen_mask[task.labels]
    largest = []
    for scores in judging.blocks(task, model, head):
        likely = scores.softmax(1)
        largest.append(torch.stack([likely[:, :seen].amax(1), likely[:, seen:].amax(1)]).cpu())
    of_domain = torch.cat(largest, 1).numpy()
    confidences = of_domain[0][of_seen].mean(), of_domain[1][~of_seen].mean()
    shares = (taken < len(task.seen)).double().mean().item(), *map(float, confidences)
    return dict(zip(SYMPTOMS, (100 * share for share in shares), strict=True))
