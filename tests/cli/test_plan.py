"""`clipsieve plan` as a person types it, and the numbers of its guide."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from clipsieve.cli import plan_words
from clipsieve.cli.plan import command
from clipsieve.errors import UsageError

GUIDE = Path(__file__).parents[2] / "docs/guides/scale.md"
BILLION = ["--images", "1000000000"]


def give(*args):
    return CliRunner().invoke(command, list(args))


def answer(*args):
    given = give(*args)
    assert (given.exit_code, given.stderr) == (0, ""), given.exception
    return given.stdout


def facts(*args):
    return json.loads(answer(*args, "--json"))


@pytest.mark.parametrize(
    "words",
    [
        "--gpu H200 --nodes 4 --price 16",
        "--gpu L4 --rate 10 --cores-per-node 10 --pixels 12",
        "-m ViT-B-32 --precision int8 --hours 48",
        "-m ViT-B-16 --nodes 1000000",
        "--images 1000000000000 --image-bytes 5e7",
    ],
)
def test_every_figure_says_how_it_is_known_within_80_columns(words):
    said = answer(*BILLION, *words.split())
    assert max(map(len, said.splitlines())) < 80
    text = " ".join(said.split())
    for label in ("encode", "decode"):
        line = text.partition(f"{label} ")[2]
        assert re.match(r"[\d.,]+ images/s a (GPU|core): (measured|published|estimated|given)", line), line
    assert "(assumed)" in text


def test_nodes_give_hours_and_hours_the_nodes():
    one = facts(*BILLION, "--gpu", "A100", "--nodes", "6")
    again = facts(*BILLION, "--gpu", "A100", "--hours", f"{one['hours']}")
    assert again["n_nodes"] == 6
    assert again == one


def test_json_holds_what_is_said():
    found = facts(*BILLION, "--gpu", "H200", "--nodes", "4", "--price", "16", "--currency", "EUR")
    assert found["cost"] == pytest.approx(found["node_hours"] * 16)
    assert found["currency"] == "EUR"
    assert found["rates"]["encode"]["basis"] == "estimated"
    assert found["node"] == {"cores": 96, "gpus": 8, "cores_are_assumed": True}
    assert found["bytes"]["n_parts"] == 100_000
    assert found["local"]["laptop"]["cores"] == 8


def test_without_a_price_there_is_no_money():
    assert "USD" not in answer(*BILLION)
    assert facts(*BILLION)["cost"] is None


def test_a_rate_of_ones_own_takes_the_place_of_the_estimate():
    found = facts(*BILLION, "--gpu", "H200", "--rate", "2900")
    assert found["rates"]["encode"] == {"images_per_s": 2900, "basis": "given", "source": "with `--rate`"}
    anothers = facts(*BILLION, "--gpu", "B300", "--rate", "2900")
    assert (anothers["device"], anothers["hours"]) == ("B300", found["hours"])
    assert "on B300" in " ".join(answer(*BILLION, "--gpu", "B300", "--rate", "2900").split())
    assert "`--rate`" in str(give(*BILLION, "--gpu", "B300").exception.hint)
    on_cores = facts(*BILLION, "--rate", "3", "--precision", "int8")
    assert on_cores["local"]["laptop"]["encode"]["images_per_s"] == 3


def test_the_driver_is_named_when_it_is_the_bound():
    assert "split the source into several runs" in answer(*BILLION, "--gpu", "H200", "--nodes", "100")
    given = give(*BILLION, "--hours", "2")
    assert isinstance(given.exception, UsageError)
    assert "split the source into 5 runs" in str(given.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--images 0", "the number of images is 0"),
        ("--images 5 --gpu GTX", "A100, H100, H200, L4"),
        ("--images 5 --model RN50", "ViT-B-32, ViT-B-16, ViT-L-14"),
        ("--images 5 --nodes 2 --hours 3", "exclude each other"),
        ("--images 5 --precision int8", "nobody has measured"),
        ("--images 5 --currency EUR", "`--currency` without `--price`"),
        ("--images 5 --price nan", "the price is nan"),
        ("--images 5 --pixels nan", "the number of megapixels is nan"),
        ("--images 5 --gpu L4 --gpus-per-node 8 --cores-per-node 8", "no core is left"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(words, said):
    given = give(*words.split())
    assert isinstance(given.exception, UsageError)
    assert said in str(given.exception)


def test_gpus_need_a_kind():
    given = give("--images", "5", "--gpus-per-node", "4")
    assert given.exit_code == 2
    assert "which kind?" in given.stderr


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.5, "30 min 0 s"), (1, "1.0 hours"), (47, "47.0 hours"), (48, "2.0 days"), (24 * 365.25 * 3, "3.0 years")],
)
def test_hours_read_like_speech(hours, words):
    assert plan_words._duration(hours) == words


def examples():
    """Return each command of the guide with the output that stands below it."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        line, _, said = block.partition("\n")
        found.append((shlex.split(line.removeprefix("$ clipsieve plan ")), said))
    return found


def rows(heading):
    """Return the cells of the guide's table below a heading."""
    table = GUIDE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_the_guide_shows_what_the_command_prints():
    assert examples()
    for words, said in examples():
        assert answer(*words) == said


def test_the_guides_arithmetic_comes_to_what_the_command_prints():
    said = " ".join(answer(*examples()[0][0]).split())
    results = [cells[2].rpartition("= ")[2] for cells in rows("The arithmetic") if cells[2]]
    figures = [
        figure for result in results for figure in re.findall(r"\d[\d,.]*(?: (?:images/s|[MGT]B|Gbit/s))?", result)
    ]
    assert len(figures) > 12
    for figure in figures:
        assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?!\d)", said), figure


def test_the_guides_table_holds_what_the_command_finds():
    table = rows("A billion images in a day")
    assert len(table) == 6
    for options, *cells in table:
        found = facts(*BILLION, "--hours", "24", *shlex.split(options.strip("`")))
        number = plan_words._number
        assert cells == [
            number(found["speed"]["images_per_s"]),
            found["bound"],
            str(found["n_nodes"]),
            number(found["hours"]),
            number(found["node_hours"]),
            number(found["cost"]),
            plan_words._duration(found["local"]["node"]["hours"]),
        ]


def test_the_guides_words_hold_what_the_command_finds():
    text = " ".join(GUIDE.read_text(encoding="utf-8").split())
    laptops = [facts(*BILLION, "-m", name)["local"]["laptop"]["hours"] for name in ("ViT-B-32", "ViT-L-14")]
    small, large = map(plan_words._duration, laptops)
    assert f"needs {small} in fp32 with ViT-B/32, and {large} with ViT-L/14" in text
    speeds = [facts(*BILLION, "--gpu", "H200", "--pixels", mp)["speed"] for mp in ("2", "3", "12")]
    assert [speed["bound"] for speed in speeds] == ["encoding", "decoding", "decoding"]
    assert f"88 cores decode {speeds[2]['images_per_s']:,.0f} images/s" in text
    older = [facts(*BILLION, "--gpu", "A100", "--pixels", mp)["bound"] for mp in ("11", "12")]
    assert older == ["encoding", "decoding"]
    driver = facts(*BILLION, "--gpu", "A100", "--nodes", "99")
    assert f"a billion images take {plan_words._duration(driver['hours'])} at least" in text
