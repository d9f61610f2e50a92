"""What a trained model gives: latents and their scale, the classifier's set; odd sizes."""

import math

import pytest
import torch

from pipeline.models.base import classifier
from pipeline.models.hsva.model import rows_of_classes
from tests.models.hsva.small import build, problem


def test_rows_of_classes_uses_each_row_before_one_twice():
    labels = torch.tensor([1, 0, 1, 3, 1])
    rows = rows_of_classes(labels, 4, 4, torch.Generator().manual_seed(0))
    picked = labels[rows]
    # class 2 has no images
    assert picked.bincount(minlength=4).tolist() == [4, 4, 0, 4]
    assert set(rows[picked == 1].tolist()) == {0, 2, 4}
    assert rows[picked == 3].tolist() == [3] * 4


def test_classifier_set_and_encode_share_a_scale():
    model, made = build()
    trainer = model.trainer(made, 0)
    for _ in range(2):
        trainer.epoch()
    encoded = model.encode(made.features)
    torch.testing.assert_close(encoded.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
    inputs, labels = model.classifier_set(made, 0)
    assert labels.bincount().tolist() == [20] * 5 + [30] * 3
    assert inputs.shape == (190, 8)
    _, unseen = model.classifier_set(made, 0, unseen_only=True)
    assert unseen.bincount().tolist() == [0] * 5 + [15] * 3
    again, _ = model.classifier_set(made, 0)
    assert torch.equal(inputs, again)
    assert not torch.equal(inputs, model.classifier_set(made, 1)[0])


def test_the_classifier_begins_as_the_released_programs():
    model, _ = build(networks={"gain": 0.5})
    held = model.head(torch.zeros(150, 5), 64, torch.Generator().manual_seed(0))
    bound = 0.5 * (6 / (150 + 64)) ** 0.5
    assert held.shape == (150, 65)
    assert 0.99 * bound < held[:, :-1].abs().max() <= bound
    assert held[:, :-1].std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not held[:, -1].any()


def test_latents_are_scaled_as_asked():
    made = problem()
    stretched = {}
    for latents in ("raw", "standardised"):
        model, _ = build(latents=latents)
        trainer = model.trainer(made, 0)
        trainer.epoch()
        stretched[latents] = model.encode(made.features)
    torch.testing.assert_close(stretched["standardised"].std(0, correction=0), torch.ones(8), atol=1e-3, rtol=0)
    raw = stretched["raw"]
    expected = (raw - raw.mean(0)) / raw.std(0, correction=0)
    torch.testing.assert_close(stretched["standardised"], expected, atol=1e-3, rtol=1e-3)


def test_weights_alone_restore_a_model():
    model, made = build()
    model.trainer(made, 0).epoch()
    again, _ = build()
    again.load_state_dict(model.state_dict())
    assert torch.equal(model.encode(made.features), again.encode(made.features))


def test_it_learns_to_tell_classes_apart_seen_and_unseen():
    made = problem(seen=24, unseen=4, images=240, d_x=40, d_a=6, seed=2)
    unseen_images = problem(seen=28, unseen=0, images=280, d_x=40, d_a=6, seed=2)
    judged = unseen_images.features[unseen_images.labels >= 24], unseen_images.labels[unseen_images.labels >= 24]
    networks = {"hidden": 64, "aligned": 32, "common": 32, "decoder": 64}
    model, _ = build(made, networks=networks, batch=24, gamma_c={"start": 2, "end": 8}, beta={"end": 20, "most": 0.05})
    trainer = model.trainer(made, 0)
    for _ in range(40):
        trainer.epoch()
    inputs, labels = model.classifier_set(made, 0)
    *_, head = classifier.epochs(inputs, labels, torch.zeros(28, 5), model.config.classifier, 0, 10, model)
    seen = (classifier.scores(head, model.encode(made.features)).argmax(1) == made.labels).float().mean()
    scores = classifier.scores(head, model.encode(judged[0]))[:, 24:]
    unseen = (scores.argmax(1) + 24 == judged[1]).float().mean()
    # chance is 1 / 28 and 1 / 4
    assert seen > 0.5
    assert unseen > 0.6


@pytest.mark.parametrize(
    "sizes",
    [
        {"d_x": 1},
        {"d_x": 300, "d_a": 2},
        {"unseen": 1},
        {"seen": 60, "images": 60},
        {"seen": 2, "images": 3},
    ],
    ids=[
        "one feature",
        "wide",
        "one unseen class",
        "classes of one image, more than a batch",
        "fewer images than a batch",
    ],
)
def test_odd_sizes(sizes):
    made = problem(**sizes)
    model, _ = build(made)
    trainer = model.trainer(made, 0)
    terms = trainer.epoch()
    assert all(math.isfinite(value) for value in terms.values())
    inputs, labels = model.classifier_set(made, 0)
    assert inputs.isfinite().all()
    assert len(labels.unique()) == len(made.seen) + len(made.unseen)
    assert model.encode(made.features).shape == (len(made.features), 8)


def test_one_latent_dimension():
    model, made = build(networks={"latent": 1})
    assert all(math.isfinite(value) for value in model.trainer(made, 0).epoch().values())
    assert model.encode(made.features).isfinite().all()
