"""From what a person named as a classifier to one that fits a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clipsieve.classifiers import (
    Classifier,
    PromptSet,
    build_zero_shot,
    builtin_prompt_set,
    builtin_prompt_sets,
    canonical_name,
    check_encoder,
    load_classifier,
    load_prompt_set,
    read_head,
    save_classifier,
)
from clipsieve.encoders import Encoder, find_model, load_encoder
from clipsieve.errors import EncoderMismatchError, UsageError
from clipsieve.store import Run
from clipsieve.types import EncoderIdentity

__all__ = ["NamedClassifier", "identify", "import_head", "load_classifier_for", "open_text_encoder"]


@dataclass(frozen=True, slots=True)
class NamedClassifier:
    """A classifier, and what its scores are called if nobody says otherwise."""

    name: str
    classifier: Classifier


def load_classifier_for(run: Run, spec: str, *, model: str | None = None) -> NamedClassifier:
    """Return the classifier that a person named, made for the encoder of a run.

    Parameters
    ----------
    run : Run
        What it will score.
    spec : str
        The name of a built-in prompt set, a `.toml` file of prompts, or a `.safetensors` file.
    model : str, optional
        Where the run's encoder lies now; by default where it lay when the run was scanned. Only prompts need it.

    Raises
    ------
    UsageError
        If the spec is none of the three.
    PromptSetError, ClassifierFileError
        If the file is malformed.
    EncoderMismatchError
        If it was made for other weights than the run's.
    """
    path = Path(spec)
    if path.suffix == ".safetensors":
        classifier: Classifier = load_classifier(path)
        check_encoder(classifier, run.manifest.encoder)
        return NamedClassifier(path.stem, classifier)
    prompt_set = load_prompt_set(path) if path.suffix == ".toml" else _builtin(spec)
    return NamedClassifier(prompt_set.name, _in_words(run, prompt_set, model))


def _builtin(name: str) -> PromptSet:
    known = [prompt_set.name for prompt_set in builtin_prompt_sets()]
    if name not in known:
        raise UsageError(
            f"there is no classifier `{name}`",
            expected="a .toml file, a .safetensors file, or one of " + ", ".join(f"`{n}`" for n in known),
        )
    return builtin_prompt_set(name)


def _in_words(run: Run, prompt_set: PromptSet, model: str | None) -> Classifier:
    with open_text_encoder(run, model) as encoder:
        return build_zero_shot(
            prompt_set, encoder.encode_texts, identity=encoder.identity, logit_scale=encoder.logit_scale
        )


@contextmanager
def open_text_encoder(run: Run, model: str | None = None) -> Iterator[Encoder]:
    """Open the encoder of a run, to read texts with it.

    Parameters
    ----------
    run : Run
        Whose embeddings the texts are to be compared with.
    model : str, optional
        Where the encoder lies now; by default where it lay when the run was scanned.

    Raises
    ------
    EncoderMismatchError
        If it has other weights than the one that made the run.
    ModelError, MissingExtraError
        If it cannot be loaded.
    """
    wanted = run.manifest.encoder
    with load_encoder(model or run.manifest.encoder_location) as encoder:
        if not _same_weights(encoder.identity, wanted):
            raise EncoderMismatchError(
                "the encoder that should read the prompts is not the one that made the run",
                expected=wanted.description,
                found=encoder.identity.description,
                state="nothing was written",
                hint="name the folder or model of the scan with `--model`",
            )
        yield encoder


def _same_weights(one: EncoderIdentity, other: EncoderIdentity) -> bool:
    """Return whether two encoders are the same: by hash, and by name where embeddings came without one."""
    if one.weights_sha256 is None or other.weights_sha256 is None:
        same_name = canonical_name(one.name) == canonical_name(other.name)
        return same_name and one.embedding_dim == other.embedding_dim
    return one.weights_sha256 == other.weights_sha256


def import_head(
    source: str | Path, destination: str | Path, *, model: str, kind: str = "auto", embedding_norm: float | None = None
) -> Classifier:
    """Turn a published head into a classifier file.

    Parameters
    ----------
    source : str or Path
        The file as it was published; see `read_head` for what can be read.
    destination : str or Path
        The `.safetensors` file to write.
    model : str
        The encoder that it was trained on. A name of the catalog or hub is taken at its word, so that nothing needs to be
        fetched; of a folder, the weights are hashed.
    kind : {"auto", "q16", "laion-nsfw", "aesthetic", "unsafe-diffusion"}, default="auto"
        What it is; "auto" tells by the content.
    embedding_norm : float, optional
        For "unsafe-diffusion" alone, > 0; see `read_head`.

    Returns
    -------
    Classifier
        What was written.

    Raises
    ------
    UsageError
        If the destination has another ending, or `kind` or `embedding_norm` makes no sense.
    UnsafeFileError
        If the source holds more than plain arrays; nothing in it was run, and nothing was written.
    ClassifierFileError
        If the source cannot be read as such a head, or the destination cannot be written.
    """
    destination = Path(destination)
    if destination.suffix != ".safetensors":
        raise UsageError(f"`{destination}` is no name for a classifier", expected="a name that ends in .safetensors")
    name, identity = identify(model)
    sha256 = identity.weights_sha256 if identity else None
    head = read_head(source, kind=kind, encoder_name=name, encoder_weights_sha256=sha256, embedding_norm=embedding_norm)
    if identity is not None and head.embedding_dim != identity.embedding_dim:
        raise EncoderMismatchError(
            f"`{source}` is a head for another encoder",
            expected=f"{identity.embedding_dim} wide, as {name} is",
            found=f"{head.embedding_dim} wide",
            state="nothing was written",
            hint="name the encoder that it was trained on with `--model`",
        )
    save_classifier(head, destination)
    return head


def identify(model: str) -> tuple[str, EncoderIdentity | None]:
    """Return the name of an encoder, and its identity where it is on this machine as a folder.

    A name of the catalog or hub is taken at its word: nothing is fetched.
    """
    known = find_model(model)
    if known is not None and known.repo is not None:
        return known.name, None
    if not Path(model).exists() and model.count("/") == 1 and not model.startswith("."):
        return model, None
    with load_encoder(model) as encoder:
        return encoder.identity.name, encoder.identity
