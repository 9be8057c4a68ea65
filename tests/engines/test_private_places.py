"""Words without the folders of the person who works on this machine."""

import pytest

from clipsieve.engines.private_places import as_printable, without_folders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("there is no model folder `/home/ann/my models/clip`", "there is no model folder `clip`"),
        ("`/home/o'neil/it's`, line 3", "`it's`, line 3"),
        ("[Errno 2] No such file: '/home/ann/x.onnx'", "[Errno 2] No such file: 'x.onnx'"),
        ("`C:\\Users\\ann\\m` and `../secret/m/` and ~/m", "`m` and `m` and m"),
        ("`file:///home/ann/a.png`", "`a.png`"),
        ("/home/ann/v.csv (/srv/x)", "v.csv (x)"),
        ("no model `immich-app/ViT-B-32__openai`, 1/2, and/or", "no model `immich-app/ViT-B-32__openai`, 1/2, and/or"),
        ("https://a.b/c/d, `s3://bucket/key`", "https://a.b/c/d, `s3://bucket/key`"),
    ],
)
def test_only_the_last_part_of_a_local_path_stays(text, expected):
    assert without_folders(text) == expected


def test_whatever_stands_there_can_be_written_in_utf8():
    assert as_printable("caf\udce9 ok \u65e5") == "caf\\xe9 ok \u65e5"
    assert as_printable("\ud800") == "\\ud800"
    assert without_folders("/home/a/caf\udce9") == "caf\\xe9"
