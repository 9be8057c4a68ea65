"""How long the data-efficiency curve of soft prompts takes, beside two ways that others would take to it.

1,674 images in 10 random splits, each with 11 fractions of its 1,506 training images, so 110 classifiers; clipsieve chooses the
strength of the prior and the calibration of each by cross-validation. The others get the same embeddings: the published recipe
as a loop in torch, which runs on one split alone (ten times its seconds stand in the table), and scikit-learn's
`LogisticRegressionCV`. Each has all cores, a thread for each fit. The embeddings are drawn: prompts in words get about 83 % of
them right, and a fit to all about 97 %.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks._machine import describe_machine
from clipsieve.classifiers import Classifier, ZeroShot
from clipsieve.classifiers.methods import SoftPromptMethod
from clipsieve.cores import one_core_each
from clipsieve.evaluation.protocols import Split, paper_splits

N_WANTED, N_UNWANTED, DIM = 962, 712, 768
FRACTIONS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
N_SPLITS, N_EPOCHS = 10, 500
SHOWN = (0.01, 0.1, 1.0)
IMAGES_PER_S = {"ViT-L/14 on an A100, as clip-retrieval publishes": 312, "ViT-B/32 on the same": 2500}

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # train, its labels, test -> probabilities


@dataclass
class Found:
    """What one way took, and how often it was right in the first split, for each fraction."""

    seconds: float
    n_splits: int
    accuracy: dict[float, float]

    @property
    def seconds_of_all(self) -> float:
        """Of ten splits, extrapolated where fewer were run."""
        return self.seconds * N_SPLITS / self.n_splits


def draw_images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings, labels, ratings and the two prompts.

    As in CLIP's space, all share a large mean, and a few directions hold most of what differs; the prompts see part of the
    direction that matters, and something else as well.
    """
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], [N_WANTED, N_UNWANTED]))
    rating = np.where(labels == 1, rng.uniform(1.2, 2.5, len(labels)), rng.uniform(3.5, 4.8, len(labels)))
    axes = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    spread = 1 / (1 + np.arange(DIM) / 8)
    spread /= np.linalg.norm(spread)
    truth, other = rng.normal(size=(2, DIM)) * spread
    truth /= np.linalg.norm(truth)
    other -= other @ truth * truth
    other /= np.linalg.norm(other)
    along = 0.32 * (labels - 0.5 + 0.22 * rng.normal(size=len(labels)))
    rest = rng.normal(size=(len(labels), DIM)) * spread
    rest -= np.outer(rest @ truth, truth) * 0.5
    images = (1.5 * axes[0] + (rest + np.outer(along, truth)) @ axes).astype(np.float32)
    seen = 0.3 * (0.78 * truth + np.sqrt(1 - 0.78**2) * other) @ axes
    prompts = (axes[0] + np.stack([-seen, seen])).astype(np.float32)
    return unit(images), labels, rating, unit(prompts)


def unit(rows: np.ndarray) -> np.ndarray:
    """Return the rows at unit norm."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def soft_prompts(prior: ZeroShot) -> Predict:
    """Return clipsieve's way."""

    def predict(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
        fitted: Classifier = SoftPromptMethod().fit(prior, train, labels[:, None] == np.arange(2))
        return fitted.predict_proba(test)[:, 1]

    return predict


def published_recipe(prompts: np.ndarray) -> Predict:
    """Return SGD with learning rate 0.01, momentum 0.9, batches of 64, 500 epochs and class weights, in torch.

    It begins with vectors of length 10, as text features are before they are normalized.
    """
    import torch

    torch.set_num_threads(1)

    def predict(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
        torch.manual_seed(0)
        vectors = torch.nn.Parameter(10 * torch.tensor(prompts))
        x, y = torch.from_numpy(train), torch.from_numpy(labels)
        loss_of = torch.nn.CrossEntropyLoss(len(y) / (2 * torch.bincount(y, minlength=2).float()))
        optimizer = torch.optim.SGD([vectors], lr=0.01, momentum=0.9)
        for _ in range(N_EPOCHS):
            for rows in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                loss_of(100 * x[rows] @ torch.nn.functional.normalize(vectors, dim=1).T, y[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            logits = 100 * torch.from_numpy(test) @ torch.nn.functional.normalize(vectors, dim=1).T
            return logits.softmax(dim=1)[:, 1].numpy()

    return predict


def regression(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return scikit-learn's way: 10 strengths, 5 folds."""
    from sklearn.linear_model import LogisticRegressionCV

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its defaults are about to change, and its weakest strengths do not converge
        return LogisticRegressionCV(Cs=10, cv=5).fit(train, labels).predict_proba(test)[:, 1]


def measure(predict: Predict, splits: Sequence[Split], images: np.ndarray, labels: np.ndarray) -> Found:
    """Fit and test in every split."""
    start = time.perf_counter()
    with one_core_each() as pool:  # as `clipsieve evaluate` does: every way has all cores, a thread for each fit
        found = list(pool.map(lambda s: predict(images[s.train], labels[s.train], images[s.test]), splits))
    seconds = time.perf_counter() - start
    accuracy = {
        split.fraction: float(((probability > 0.5) == labels[split.test]).mean())
        for split, probability in zip(splits, found, strict=True)
        if split.number == 0
    }
    return Found(seconds, len(splits) // len(FRACTIONS), accuracy)


def print_table(found: dict[str, Found]) -> None:
    """Print seconds, ratio to the first way, and the accuracy in the first split, where each way was tested."""
    base = next(iter(found.values())).seconds_of_all
    print(f"\n| {N_SPLITS} splits x {len(FRACTIONS)} fractions, {N_WANTED + N_UNWANTED:,} x {DIM} | s | ratio ", end="")
    print("".join(f"| {fraction:.0%} right " for fraction in SHOWN) + "|\n|---" + "|---" * 5 + "|")
    for way, row in found.items():
        note = "" if row.n_splits == N_SPLITS else f", {row.n_splits} split x {N_SPLITS // row.n_splits}"
        cells = "".join(f" {100 * row.accuracy[fraction]:.1f} |" for fraction in SHOWN)
        print(f"| {way}{note} | {row.seconds_of_all:,.1f} | {row.seconds_of_all / base:.1f} |{cells}")


def print_cost_of_encoding(splits: Sequence[Split]) -> None:
    """Print what encoding the images again in every epoch costs on top of the recipe."""
    n_encoded = N_EPOCHS * sum(len(split.train) for split in splits)
    for encoder, speed in IMAGES_PER_S.items():
        one = N_EPOCHS * max(len(split.train) for split in splits) / speed / 60
        print(f"encoding again each epoch, {encoder} ({speed:,} images/s): ", end="")
        print(f"{one:,.0f} min for one classifier of all images, {n_encoded / speed / 3600:,.1f} h for the curve")


def main() -> None:
    """Measure and print the table."""
    print(describe_machine())
    images, labels, rating, prompts = draw_images()
    splits = paper_splits(rating, labels, FRACTIONS, n_splits=N_SPLITS)
    first = splits[: len(FRACTIONS)]
    prior = ZeroShot(prompts, ("wanted", "unwanted"), (False, True), "drawn")
    in_words = ((prior.predict_proba(images)[:, 1] > 0.5) == labels).mean()
    print(f"accuracy of the prompts in words: {100 * in_words:.1f}")
    measure(soft_prompts(prior), first[:4], images, labels)  # imports
    ways = {
        "soft prompts, strength and calibration chosen": (soft_prompts(prior), splits),
        "LogisticRegressionCV": (regression, splits),
        "the published recipe in torch": (published_recipe(prompts), first),
    }
    print_table({name: measure(predict, some, images, labels) for name, (predict, some) in ways.items()})
    print()
    print_cost_of_encoding(splits)


if __name__ == "__main__":
    main()
