"""A small source of each kind, with the same seven images."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from image_files import png, tar

N_IMAGES = 7


def folder(root: Path) -> Path:
    for index in range(N_IMAGES):
        path = root / f"class {index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(png(index))
    return root


def webdataset(root: Path) -> Path:
    root.mkdir()
    for number, members in enumerate((range(4), range(4, N_IMAGES))):
        content = [(f"{index:04d}.png", png(index)) for index in members]
        (root / f"{number:05d}.tar").write_bytes(tar(content))
    return root


def gzipped(root: Path) -> Path:
    webdataset(root)
    for path in root.glob("*.tar"):
        path.with_suffix(".tar.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    return root


def csv_of_paths(root: Path) -> Path:
    folder(root / "images")
    lines = [f"images/class {index % 2}/{index}.png,c{index}" for index in range(N_IMAGES)]
    (root / "table.csv").write_text("\n".join(["path,caption", *lines]))
    return root / "table.csv"


def parquet_of_bytes(root: Path) -> Path:
    root.mkdir()
    pq.write_table(pa.table({"jpg": [png(i) for i in range(N_IMAGES)]}), root / "t.parquet", row_group_size=3)
    return root


def parquet_of_structs(root: Path) -> Path:
    root.mkdir()
    for number, rows in enumerate((range(3), range(3, N_IMAGES))):
        cells = [{"bytes": png(index), "path": f"{index}.png"} for index in rows]
        pq.write_table(pa.table({"image": cells, "label": list(rows)}), root / f"train-{number:05d}.parquet")
    return root


def saved(root: Path) -> Path:
    from datasets import Dataset, DatasetDict, Features, Image

    rows = [{"image": {"bytes": png(index), "path": None}} for index in range(N_IMAGES)]
    splits = {"train": rows[:5], "test": rows[5:]}
    made = {name: Dataset.from_list(some, features=Features({"image": Image()})) for name, some in splits.items()}
    DatasetDict(made).save_to_disk(root)
    return root


KINDS = {
    folder: "folder",
    webdataset: "webdataset",
    gzipped: "webdataset",
    csv_of_paths: "table",
    parquet_of_bytes: "table",
    parquet_of_structs: "table",
    saved: "huggingface",
}
