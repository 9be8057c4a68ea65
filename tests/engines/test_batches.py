"""Parts have the same bytes however the work was cut in two, with a runtime that rounds by the length of a batch."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsieve import ScanOptions, load_encoder, open_source, scan
from clipsieve.engines import LocalEngine

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_part_made_alone_equals_the_same_part_made_among_others(tmp_path: Path, missing: int) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for n in range(31):  # parts of 9, 9, 9 and 4, so that batches of 4 leave one image over
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"images/{n:02}.png")
    engine, options = LocalEngine(workers=2, batch_size=4), ScanOptions(part_size=9)
    with load_encoder("pictogram") as encoder:
        scan(open_source(tmp_path / "images"), tmp_path / "whole", encoder, options=options, engine=engine)
        shutil.copytree(tmp_path / "whole", tmp_path / "again")
        (tmp_path / f"again/images/part-{missing:05d}.parquet").unlink()
        report = scan(open_source(tmp_path / "images"), tmp_path / "again", encoder, options=options, engine=engine)
    assert report.n_new == (4 if missing == 3 else 9)
    for part in sorted((tmp_path / "whole/images").iterdir()):
        assert part.read_bytes() == (tmp_path / "again/images" / part.name).read_bytes()
