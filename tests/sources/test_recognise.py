"""Which kind of source a place is, told by what lies there; what may be two kinds is asked for."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.errors import SourceError, UsageError
from clipsieve.sources import open_source, recognise
from image_files import png, tar

TAR, PICTURE = tar([("1.png", png(1))]), png(2)


def table(path):
    pq.write_table(pa.table({"image": [png(1)]}), path)


def fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            table(path)
        elif name.endswith(".npy"):
            np.save(path, np.eye(2, dtype=np.float32))
        else:
            path.write_bytes(TAR if ".tar" in name else PICTURE if name.endswith(".png") else b"x")


CASES = {
    "folder": [
        ["a.png"],
        ["x/y/z/a.png", "readme.md"],
        ["a.png", "ratings.csv"],
        ["train/a.png", "metadata.csv"],
        ["x"],
        [],
    ],
    "webdataset": [
        ["0.tar"],
        ["0.tar.gz"],
        ["0.tgz", "notes.txt"],
        ["00000.tar", "00000.parquet", "00000_stats.json"],
        ["train/0.tar", "val/0.tar"],
        ["0.tar", ".thumbnails/a.png"],
    ],
    "table": [["a.parquet"], ["data/train-0.parquet", "README.md"], ["x.csv"], ["x.tsv"], ["deep/down/here.parquet"]],
    "huggingface": [["dataset_info.json", "state.json"], ["dataset_dict.json"], ["dataset_dict.json", "a.png"]],
    "embeddings": [
        ["img_emb/img_emb_0.npy"],
        ["img_emb_0.npy"],
        ["img_emb/img_emb_0.npy", "metadata/m_0.parquet", "a.png"],
    ],
}


@pytest.mark.parametrize(("kind", "names"), [(kind, names) for kind, cases in CASES.items() for names in cases])
def test_a_folder_is_what_it_holds(tmp_path, kind, names):
    fill(tmp_path, *names)
    assert recognise(str(tmp_path)) == kind


@pytest.mark.parametrize(
    "names",
    [
        ["0.tar", "a.png"],
        ["shards/0.tar", "preview.png"],
        ["0.tar", "deep/a.png"],
        ["data/train-0.parquet", "thumbnail.png"],
        ["x.parquet", "images/a.png"],
    ],
)
def test_what_may_be_two_kinds_is_asked_for(tmp_path, names):
    fill(tmp_path, *names)
    with pytest.raises(SourceError, match="side by side") as caught:
        recognise(str(tmp_path))
    assert "--source folder" in caught.value.hint
    assert open_source(tmp_path, "folder").plan(10).n_images == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.tar", "webdataset"),
        ("A.TGZ", "webdataset"),
        ("a.csv", "table"),
        ("a.PARQUET", "table"),
        ("a.npy", "embeddings"),
    ],
)
def test_a_file_is_what_it_is_named(tmp_path, name, kind):
    (tmp_path / name).write_bytes(b"x")
    assert recognise(str(tmp_path / name)) == kind
    assert recognise(f"https://example.org/x/{name}?signature=abc.png") == kind
    assert recognise(f"s3://bucket/{{00..10}}/{name}") == kind


@pytest.mark.parametrize("name", ["a.zip", "a.png", "a"])
def test_a_file_of_another_name_is_refused_with_what_would_do(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match="not a folder, a tar file or a table"):
        recognise(str(tmp_path / name))


@pytest.mark.parametrize("location", ["nowhere", "", "owner/name", "nowhere/*"])
def test_nothing_there_is_an_error(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"nothing at|cannot tell"):
        recognise(location)


def test_embeddings_are_not_opened_as_images(tmp_path):
    fill(tmp_path, "img_emb/img_emb_0.npy")
    with pytest.raises(UsageError, match="holds no images to open"):
        open_source(tmp_path)


LOCKED = """
import os, sys
import fsspec  # what only root could import later
from clipsieve.sources import open_source
import clipsieve.sources.webdataset
fsspec.filesystem("file")
source = "folder"
os.setgid(65534); os.setuid(65534)
try:
    print(open_source(sys.argv[1], sys.argv[2]).plan(10).n_images)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="run as root: only root can become a user from whom a folder is locked")
@pytest.mark.parametrize("kind", ["auto", "webdataset"])
def test_a_folder_that_cannot_be_listed_leaves_no_hole(tmp_path_factory, kind):
    import shutil
    import tempfile
    from pathlib import Path

    root = Path(tempfile.mkdtemp(prefix="clipsieve-"))
    try:
        root.chmod(0o755)
        fill(root, "a/0.tar", "closed/1.tar")
        (root / "closed").chmod(0)
        done = subprocess.run([sys.executable, "-c", LOCKED, str(root), kind], capture_output=True, text=True)
        assert done.stdout.startswith(f"SourceError cannot list the folder `{root}/closed`"), done.stdout + done.stderr
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize(
    ("kind", "name", "n_images"),
    [("folder", "a.png", 2), ("webdataset", "0.tar", 1)],
    ids=["a folder, where the link is a row of failure", "tar files"],
)
def test_links_in_a_circle_keep_nobody_from_the_rest(tmp_path, kind, name, n_images):
    fill(tmp_path, name)
    (tmp_path / "knot").symlink_to("knot")
    assert recognise(str(tmp_path)) == kind
    assert open_source(tmp_path).plan(10).n_images == n_images
