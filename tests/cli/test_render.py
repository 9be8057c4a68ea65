"""What comes from other people's files cannot steer the terminal."""

import pytest

from clipsieve.cli import render

EVIL = "a\x1b[31mb\rc\u202ed\x9be"
SHOWN = "a\\x1b[31mb\\rc\\u202ed\\x9be"


def test_letters_of_every_script_stay_and_what_steers_is_spelled_out():
    assert render.visible("Пример 图像 עברית 👍\n\ttwo") == "Пример 图像 עברית 👍\n\ttwo"
    assert render.visible(EVIL) == SHOWN


@pytest.mark.parametrize("show", [render.print_text, render.print_note, render.print_warning, render.print_error])
def test_every_way_to_print_spells_it_out(show, capsys):
    show(EVIL)
    out, err = capsys.readouterr()
    assert SHOWN in out + err
    assert not {"\x1b", "\r", "\u202e", "\x9b"} & set(out + err)


def test_cells_of_tables_too(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    render.print_table([("name", "left")], [(EVIL,)])
    assert SHOWN in capsys.readouterr().out
