"""Models from the hub: fetched once at one commit, every file checked, and held to it from then on.

The hub says which commit a revision is, and for each file its sha256 (large files) or its git hash (small ones). A file that
does not match what the hub said, or later what was pinned, is never loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsieve.encoders.catalog import find_model, models_dir, repo_dir
from clipsieve.encoders.folder import hash_file, read_json
from clipsieve.errors import HubError, ModelError, ModelFileError, ModelNotFoundError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo as HubModelInfo
    from huggingface_hub.hf_api import RepoSibling

__all__ = ["Pin", "fetch", "is_hub_id", "pinned_folder"]

_WAYS_OUT = (
    "`--model pictogram` needs no hub (it is for the demo only); `--model DIR` takes a model folder that was copied here, "
    "for example from a machine that can run `clipsieve models fetch`"
)

# What the two backends need. Nothing else is downloaded, and never a pickle.
_WANTED = re.compile(
    r"(config\.json|(visual|textual)/[^/.][^/]*(?<!\.armnn)(?<!\.rknn)|[^/]+\.safetensors(\.index\.json)?"
    r"|preprocessor_config\.json|tokenizer(_config)?\.json|special_tokens_map\.json|vocab\.json|merges\.txt"
    r"|spiece\.model|tokenizer\.model)"
)

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Pin:
    """What a fetched model is held to.

    Attributes
    ----------
    repo, commit : str
        The hub's repository and the commit in it.
    files : dict of str to str
        The sha256 of each file.
    """

    repo: str
    commit: str
    files: dict[str, str]


def is_hub_id(name: str) -> bool:
    """Return whether a name has the form `owner/name` of the hub, and so can lead out of no folder."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*", name) is not None and ".." not in name


def pinned_folder(repo: str) -> tuple[Path, Pin] | None:
    """Return the folder of a fetched model and its pin, every file checked against it; None if it was never fetched.

    Raises
    ------
    ModelFileError
        If a file is missing or has changed since.
    """
    pin_file = repo_dir(repo) / "pin.json"
    if not pin_file.exists():
        return None
    pin = _read_pin(pin_file)
    folder = repo_dir(repo) / pin.commit
    for name, sha256 in pin.files.items():
        found = hash_file(folder / name) if (folder / name).is_file() else "no such file"
        if found != sha256:
            raise ModelFileError(
                f"`{folder / name}` is not the file that was fetched",
                expected=f"sha256 {sha256}",
                found=found,
                hint=f"fetch it again: `clipsieve models fetch {repo} --revision {pin.commit}`",
            )
    return folder, pin


def _read_pin(path: Path) -> Pin:
    value = read_json(path)
    try:
        pin = Pin(repo=str(value["repo"]), commit=str(value["commit"]), files=dict(value["files"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"`{path}` is damaged", hint="remove it and fetch the model again") from error
    if not _COMMIT.fullmatch(pin.commit):
        raise ModelFileError(f"`{path}` names no commit", found=pin.commit, hint="remove it and fetch the model again")
    return pin


def fetch(repo: str, revision: str | None = None) -> tuple[Path, Pin]:
    """Download what a model needs at one commit, check it, and pin it.

    Parameters
    ----------
    repo : str
        A hub id, `owner/name`.
    revision : str, optional
        Branch, tag or commit. By default the catalog's, else that of an earlier fetch, else `main`.

    Raises
    ------
    ModelNotFoundError
        If the hub has no such model or revision, or it holds no files that can be used.
    HubError
        If the hub cannot be reached or refuses.
    ModelFileError
        If a downloaded file is not what the hub, or an earlier pin, says.
    """
    known = find_model(repo)
    earlier = _read_pin(repo_dir(repo) / "pin.json") if (repo_dir(repo) / "pin.json").exists() else None
    wanted = revision or (known.revision if known else None) or (earlier.commit if earlier else None) or "main"
    info = _ask(repo, wanted)
    commit = str(info.sha)
    if not _COMMIT.fullmatch(commit):
        raise HubError(f"the hub names no commit of `{repo}` for `{wanted}`", expected="40 hex digits", found=commit)
    siblings = [file for file in info.siblings or [] if _WANTED.fullmatch(file.rfilename)]
    if not any(file.rfilename.endswith((".onnx", ".safetensors")) for file in siblings):
        raise ModelNotFoundError(
            f"the hub's `{repo}` holds no model that clipsieve can run",
            expected="`visual/model.onnx` and `textual/model.onnx`, or `*.safetensors`",
            found=", ".join(sorted(file.rfilename for file in info.siblings or [])[:10]) or "no files",
        )
    promised = known.files if known else {}
    if earlier is not None and earlier.commit == commit:
        promised = earlier.files | promised
    pin = _download(repo, commit, siblings, promised)
    _write_pin(pin)
    return repo_dir(repo) / commit, pin


def _write_pin(pin: Pin) -> None:
    temporary = repo_dir(pin.repo) / ".pin.json.tmp"
    temporary.write_text(json.dumps(asdict(pin), indent=2) + "\n", encoding="utf-8")
    temporary.replace(repo_dir(pin.repo) / "pin.json")


def _ask(repo: str, revision: str) -> HubModelInfo:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=15)
    except Exception as error:  # many classes, of several libraries; each ends as one of ours
        raise explain(error, repo, revision) from error


def _download(repo: str, commit: str, siblings: list[RepoSibling], promised: dict[str, str]) -> Pin:
    """Download into a temporary folder beside the final one, check, and put it in place as a whole."""
    from huggingface_hub import hf_hub_download

    models_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models_dir(), prefix=".fetch-") as temporary:
        folder = Path(temporary) / "model"  # with the usual permissions, unlike the temporary folder
        files = {}
        for sibling in siblings:
            name = sibling.rfilename
            try:
                # Forced, although there is nothing to overwrite: else a failing hub is asked again for minutes.
                path = Path(hf_hub_download(repo, name, revision=commit, local_dir=folder, force_download=True))
            except Exception as error:
                raise explain(error, repo, commit) from error
            files[name] = _check(path, sibling, promised.get(name))
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        final = repo_dir(repo) / commit
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        folder.rename(final)
    return Pin(repo, commit, files)


def _check(path: Path, sibling: RepoSibling, pinned: str | None) -> str:
    """Return the sha256 of a downloaded file once it was found to be what the hub, and the pin, say."""
    sha256 = hash_file(path)
    if sibling.lfs is not None:
        expected, found = f"sha256 {sibling.lfs.sha256}", f"sha256 {sha256}"
    else:
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        expected, found = f"git blob {sibling.blob_id}", f"git blob {blob}"
    if pinned is not None and sha256 != pinned:
        expected, found = f"sha256 {pinned}, as pinned", f"sha256 {sha256}"
    if expected != found:
        raise ModelFileError(
            f"the downloaded `{sibling.rfilename}` is not the file that was announced",
            expected=expected,
            found=found,
            state="it was deleted, and nothing was installed",
            hint="try again; if it stays so, something between the hub and this machine changes files",
        )
    return sha256


def explain(error: Exception, repo: str, revision: str) -> ModelError:
    """Return which of our errors a failure of the hub's client means."""
    from huggingface_hub import constants, errors

    if isinstance(error, (ValueError, errors.LocalEntryNotFoundError)) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the client wraps what it met before a download
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"the hub's `{repo}` asks for a licence to be accepted",
            hint="accept it there, then log in with `hf auth login`",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelNotFoundError(
            f"the hub has no model `{repo}`, or it is private",
            hint="`clipsieve models list` shows names that are known",
        )
    if isinstance(error, (errors.RevisionNotFoundError, errors.EntryNotFoundError)):
        return ModelNotFoundError(
            f"the hub's `{repo}` has no revision or file as asked for", found=_words(error), expected=revision
        )
    if constants.HF_HUB_OFFLINE or isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(
            f"`{repo}` is not on this machine, and HF_HUB_OFFLINE forbids fetching it",
            state="nothing was downloaded",
            hint=f"unset HF_HUB_OFFLINE to fetch it; {_WAYS_OUT}",
        )
    answered = isinstance(error, errors.HfHubHTTPError) and getattr(error, "response", None) is not None
    return HubError(
        f"the hub refuses `{repo}`, or fails" if answered else f"the hub cannot be reached for `{repo}`",
        found=_words(error),
        state="nothing was installed",
        hint=_WAYS_OUT,
    )


def _words(error: Any) -> str:  # noqa: ANN401 - whatever was raised
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
