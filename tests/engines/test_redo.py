"""A run of another encoder or with other options: refused with both named, or made anew as far as it was asked for."""

import pytest

from clipsieve.classifiers import build_zero_shot, builtin_prompt_set
from clipsieve.engines import BlockList, DecodeLimits, LocalEngine, ScanOptions, scan, score
from clipsieve.errors import EncoderMismatchError, RunConflictError
from clipsieve.sources import FolderSource
from clipsieve.store import Run
from image_files import png
from tiny_encoder import TinyEncoder

pytestmark = pytest.mark.slow  # so that the default tests take less than a minute

PARTS_OF_2 = ScanOptions(part_size=2)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(6):
        (tmp_path / "photos" / f"{index}.png").write_bytes(png(index, side=6 + index))
    return tmp_path / "photos"


@pytest.fixture
def run(photos, tmp_path):
    do(photos, tmp_path / "run", TinyEncoder())
    encoder = TinyEncoder()
    words = build_zero_shot(
        builtin_prompt_set("positive-negative"), encoder.encode_texts, identity=encoder.identity, logit_scale=100.0
    )
    score(Run.open(tmp_path / "run"), words, name="words")
    return tmp_path / "run"


def do(photos, run, encoder, options=PARTS_OF_2, redo="never", max_bytes=10**6, **more):
    source, engine = FolderSource(photos, max_bytes=max_bytes), LocalEngine(workers=1)
    return scan(source, run, encoder, options=options, engine=engine, redo=redo, **more)


def digests(run):
    return {path.name: path.read_bytes() for path in run.glob("images/*")}


CHANGES = {
    "--max-pixels": {"options": ScanOptions(part_size=2, limits=DecodeLimits(max_pixels=64))},
    "--max-seconds": {"options": ScanOptions(part_size=2, limits=DecodeLimits(max_seconds=5))},
    "--max-bytes": {"max_bytes": 10**5},
    "--part-size": {"options": ScanOptions(part_size=3)},
    "--hash-list": {"options": ScanOptions(part_size=2, block_list=BlockList(sha256=frozenset({bytes(32)})))},
    "encoder": {"encoder": TinyEncoder(seed=1)},
}


@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES.keys())
def test_a_change_is_refused_with_both_named(photos, run, name, change):
    before = digests(run)
    with pytest.raises(RunConflictError, match=f"another {name}") as caught:
        do(photos, run, **({"encoder": TinyEncoder()} | change))
    assert caught.value.expected != caught.value.found
    assert "--stale-only" in caught.value.hint
    assert "--overwrite" in caught.value.hint
    assert digests(run) == before
    assert Run.open(run).score_names() == ["words"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES.keys())
@pytest.mark.parametrize("redo", ["stale", "all"])
def test_a_change_is_carried_through_when_asked_for(photos, run, tmp_path, name, change, redo):
    arguments = {"encoder": TinyEncoder()} | change
    report = do(photos, run, redo=redo, **arguments)
    assert report.n_new == 6
    assert report.n_reused == (0 if redo == "all" or name == "encoder" else report.n_scanned)
    assert Run.open(run).score_names() == []
    do(photos, tmp_path / "fresh", **arguments)
    assert digests(run) == digests(tmp_path / "fresh")
    assert do(photos, run, **arguments).n_new == 0


def test_with_nothing_changed_stale_only_does_nothing_and_overwrite_everything(photos, run):
    encoder = TinyEncoder()
    assert do(photos, run, encoder, redo="stale").n_new == 0
    assert Run.open(run).score_names() == ["words"]
    assert do(photos, run, encoder, redo="all").n_new == 6
    assert encoder.n_images == 7  # one of them is the try-out


def test_a_change_that_was_broken_off_goes_on_with_the_plain_command(photos, run, tmp_path):
    def interrupt(n_done, _):
        if n_done >= 3:
            raise KeyboardInterrupt

    other = TinyEncoder(seed=1)
    with pytest.raises(KeyboardInterrupt):
        do(photos, run, other, redo="stale", on_progress=interrupt)
    words = build_zero_shot(
        builtin_prompt_set("offensive"), other.encode_texts, identity=other.identity, logit_scale=1.0
    )
    with pytest.raises(Exception, match="is missing"):
        score(Run.open(run), words, name="words")
    do(photos, run, other)
    do(photos, tmp_path / "fresh", other)
    assert digests(run) == digests(tmp_path / "fresh")


def test_parts_of_two_encoders_are_not_scored(photos, run, tmp_path):
    do(photos, tmp_path / "other", TinyEncoder(seed=1))
    (run / "images" / "part-00001.parquet").write_bytes(
        (tmp_path / "other" / "images" / "part-00001.parquet").read_bytes()
    )
    encoder = TinyEncoder()
    words = build_zero_shot(
        builtin_prompt_set("offensive"), encoder.encode_texts, identity=encoder.identity, logit_scale=1.0
    )
    with pytest.raises(EncoderMismatchError, match="1 of 3 parts"):
        score(Run.open(run), words, name="words")
    assert do(photos, run, encoder).n_new == 2


def test_another_source_is_made_anew_only_by_overwrite(photos, run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(png(7))
    for redo in ("never", "stale"):
        with pytest.raises(RunConflictError, match="another source"):
            do(tmp_path / "elsewhere", run, TinyEncoder(), redo=redo)
    assert do(tmp_path / "elsewhere", run, TinyEncoder(), redo="all").n_listed == 1
    assert len(digests(run)) == 1


@pytest.mark.parametrize("redo", ["stale", "all"])
def test_what_is_no_run_is_never_touched(photos, tmp_path, redo):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunConflictError, match="holds other files"):
        do(photos, tmp_path / "run", TinyEncoder(), redo=redo)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_what_people_have_put_into_a_run_stays(photos, run):
    for name in ("verdicts.db", "images/notes.txt"):
        (run / name).write_text("mine")
    do(photos, run, TinyEncoder(), redo="all")
    assert [(run / name).read_text() for name in ("verdicts.db", "images/notes.txt")] == ["mine", "mine"]
