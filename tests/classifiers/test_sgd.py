"""The published recipe against torch's own SGD, and what it promises by itself."""

import numpy as np
import pytest

from clipsieve.classifiers.sgd import train_soft_prompts


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def draw(k=2, n=150, d=16, seed=0):
    """Return prompts, images around other centres, and labels of which the first is rarer."""
    rng = np.random.default_rng(seed)
    prompts, centres = unit(rng.normal(size=(2, k, d)))
    labels = np.sort(np.minimum(rng.integers(0, 2 * k, n), k - 1))[::-1].copy()
    return prompts, unit(0.3 * prompts[labels] + centres[labels] + 0.3 * rng.normal(size=(n, d))), labels


def by_torch(prompts, images, labels, *, logit_scale, start_norm, n_epochs=500, seed, batch_size=64):
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small products only get slower with more
    rng, x, y = np.random.default_rng(seed), torch.from_numpy(images), torch.from_numpy(labels)
    vectors = torch.nn.Parameter(start_norm * torch.tensor(prompts))
    counts = torch.bincount(y, minlength=len(prompts)).double()
    loss_of = torch.nn.CrossEntropyLoss(weight=len(y) / (len(prompts) * counts))
    optimizer = torch.optim.SGD([vectors], lr=0.01, momentum=0.9)
    for _ in range(n_epochs):
        for rows in torch.from_numpy(rng.permutation(len(y))).split(batch_size):
            optimizer.zero_grad()
            logits = logit_scale * x[rows] @ torch.nn.functional.normalize(vectors, dim=1).T
            loss_of(logits, y[rows]).backward()
            optimizer.step()
    torch.set_num_threads(n_threads)
    return unit(vectors.detach().numpy())


@pytest.mark.torch
@pytest.mark.parametrize(("k", "start_norm"), [(2, 10.0), (3, 10.0), (2, 1.0)])
def test_it_is_torchs_sgd_with_the_published_settings(k, start_norm):
    """Length 10, scale 100, learning rate 0.01, momentum 0.9, batches of 64 and a smaller one, weighted classes, 500 epochs."""
    prompts, images, labels = draw(k)
    settings = {"logit_scale": 100.0, "start_norm": start_norm, "seed": 7}
    found = train_soft_prompts(prompts, images, labels[:, None] == np.arange(k), **settings)
    expected = by_torch(prompts, images, labels, **settings)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - prompts).max() > 0.05


@pytest.mark.parametrize("k", [2, 3])
def test_it_learns(k):
    prompts, images, labels = draw(k)
    found = train_soft_prompts(
        prompts, images, labels[:, None] == np.arange(k), logit_scale=100.0, start_norm=1.0, n_epochs=60
    )
    before, after = (((images @ rows.T).argmax(axis=1) == labels).mean() for rows in (prompts, found))
    assert after > 0.97
    assert after > before + 0.1
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)


def test_longer_vectors_turn_less_and_10_is_the_length_where_training_starts():
    prompts, images, labels = draw()
    targets, settings = labels[:, None] == np.arange(2), {"logit_scale": 100.0, "n_epochs": 2}
    found = [train_soft_prompts(prompts, images, targets, start_norm=norm, **settings) for norm in (1.0, 10.0, 100.0)]
    turned = [np.linalg.norm(rows - prompts) for rows in found]
    assert turned[0] > 2 * turned[1] > 4 * turned[2] > 0
    assert train_soft_prompts(prompts, images, targets, **settings).tobytes() == found[1].tobytes()


def test_every_kind_of_target_counts_the_same():
    """Ten copies of the rarer label's images in a single batch change nothing: their weights shrink as much."""
    prompts, images, labels = draw(n=60)
    targets, often = labels[:, None] == np.arange(2), np.where(labels == 0, 10, 1)
    settings = {"logit_scale": 30.0, "n_epochs": 40, "batch_size": 10_000}
    once = train_soft_prompts(prompts, images, targets, **settings)
    copied = train_soft_prompts(prompts, images.repeat(often, axis=0), targets.repeat(often, axis=0), **settings)
    np.testing.assert_allclose(once, copied, atol=1e-9)


def test_group_targets_leave_open_which_class_it_is():
    """Images known to be in one of two classes pull the nearer of them towards themselves, and the wanted one away."""
    prompts, images, labels = draw(3)
    targets = labels[:, None] == np.arange(3)
    targets[labels > 0] = [False, True, True]
    found = train_soft_prompts(prompts, images, targets, logit_scale=100.0, start_norm=1.0, n_epochs=60)
    assert (((images @ found.T).argmax(axis=1) > 0) == (labels > 0)).mean() > 0.97


def test_the_seed_decides_the_order_and_nothing_else_does():
    prompts, images, labels = draw()
    targets = labels[:, None] == np.arange(2)
    first, again, other = (
        train_soft_prompts(prompts, images, targets, logit_scale=100.0, n_epochs=3, seed=seed) for seed in (1, 1, 2)
    )
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_no_epoch_keeps_the_prompts_and_nothing_given_is_changed():
    prompts, images, labels = draw()
    before = prompts.tobytes(), images.tobytes()
    targets = labels[:, None] == np.arange(2)
    np.testing.assert_allclose(
        train_soft_prompts(prompts, images, targets, logit_scale=100.0, n_epochs=0), prompts, atol=1e-15
    )
    train_soft_prompts(prompts, images, targets, logit_scale=100.0, n_epochs=2)
    assert before == (prompts.tobytes(), images.tobytes())
