"""Fonts as an image set: every face once, labels from the fonts themselves, families kept apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from latens_training.cli.main import main
from latens_training.data import datasets
from latens_training.data.fonts.catalogue import font_files
from latens_training.data.fonts.collection import collect, save
from latens_training.data.fonts.faces import UnreadableFontError, faces_with
from latens_training.data.fonts.glyphs import draw
from latens_training.data.fonts.names import index_of
from latens_training.errors import DataError, NotFoundError

# DejaVu and STIX in several cuts come with matplotlib, so that the tests need no system fonts.
REAL_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def bar(left: int, bottom: int, right: int, top: int) -> object:
    pen = TTGlyphPen(None)
    pen.moveTo((left, bottom))
    pen.lineTo((left, top))
    pen.lineTo((right, top))
    pen.lineTo((right, bottom))
    pen.closePath()
    return pen.glyph()


def make_font(path: Path, family: str, stroke: int, **os2: int) -> Path:
    """A font whose A is an upright bar 700 units high and `stroke` wide, and whose B has no ink."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "A", "B"])
    builder.setupCharacterMap({ord("A"): "A", ord("B"): "B"})
    builder.setupGlyf(
        {".notdef": bar(0, 0, 9, 9), "A": bar(0, 0, stroke, 700), "B": TTGlyphPen(None).glyph()}
    )
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "A", "B"), (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(**{"usWeightClass": 400, "usWidthClass": 5, **os2})
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture(scope="module")
def real_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fonts") / "real.npz"
    save(collect(font_files(REAL_FONTS), "Ag", 20), out)
    return out


def test_labels_come_from_the_fonts_own_tables(tmp_path: Path) -> None:
    path = make_font(
        tmp_path / "f.ttf", "Test", 100, usWeightClass=250, usWidthClass=3, fsSelection=1
    )
    (face,) = faces_with(path, "A")
    assert (face.name, face.weight, face.width, face.italic) == ("Test Regular", 250, 3, True)
    early = make_font(tmp_path / "early.ttf", "Early", 100, usWeightClass=7)
    assert faces_with(early, "A")[0].weight == 700
    (bold,) = faces_with(REAL_FONTS / "DejaVuSans-BoldOblique.ttf", "A")
    assert (bold.name, bold.weight, bold.italic) == ("DejaVu Sans Bold Oblique", 700, True)
    (book,) = faces_with(REAL_FONTS / "DejaVuSans.ttf", "A")
    assert (book.weight, book.width, book.italic) == (400, 5, False)


def test_a_glyph_fills_its_square_centred_and_keeps_its_proportions(tmp_path: Path) -> None:
    (face,) = faces_with(make_font(tmp_path / "f.ttf", "Test", 350), "A")
    drawn = draw(face, "A", 28)
    assert drawn is not None
    assert drawn.shape == (1, 28, 28)
    ink = drawn[0] > 127
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert (rows[0], rows[-1]) == (2, 25)
    assert len(columns) == 12
    assert abs((columns[0] + columns[-1]) / 2 - 13.5) <= 0.5


def test_characters_of_a_face_share_scale_and_baseline() -> None:
    (face,) = faces_with(REAL_FONTS / "DejaVuSans.ttf", "Agx")
    drawn = draw(face, "Agx", 56)
    assert drawn is not None
    bottoms = [np.flatnonzero((tile > 127).any(axis=1))[-1] for tile in drawn]
    tops = [np.flatnonzero((tile > 127).any(axis=1))[0] for tile in drawn]
    assert abs(bottoms[0] - bottoms[2]) <= 1
    assert bottoms[1] > bottoms[0] + 4
    assert tops[0] < tops[2]


def test_duplicates_and_fonts_without_the_glyph_are_left_out(tmp_path: Path) -> None:
    make_font(tmp_path / "a.ttf", "One", 100)
    make_font(tmp_path / "b.ttf", "One again", 100)
    make_font(tmp_path / "c.ttf", "Two", 300)
    (tmp_path / "d.ttf").write_bytes(b"not a font at all")
    found = collect(font_files(tmp_path), "A", 16)
    assert [face.family for face in found.faces] == ["One", "Two"]
    assert (found.duplicates, found.lacking, len(found.unreadable)) == (1, 0, 1)
    with pytest.raises(DataError, match="has all of"):
        collect(font_files(tmp_path), "AZ", 16)
    with pytest.raises(DataError, match="has all of"):
        collect(font_files(tmp_path), "B", 16)


def test_a_damaged_font_is_reported_and_skipped(tmp_path: Path) -> None:
    whole = (REAL_FONTS / "DejaVuSans.ttf").read_bytes()
    (tmp_path / "cut.ttf").write_bytes(whole[: len(whole) // 50])
    with pytest.raises(UnreadableFontError, match=r"cut\.ttf"):
        faces_with(tmp_path / "cut.ttf", "A")


def test_the_set_is_one_that_training_loads_with_its_labels(real_set: Path) -> None:
    loaded = datasets.load(str(real_set))
    assert loaded.image_shape == (1, 20, 20)
    assert set(loaded.train.attributes) == {"weight", "italic", "width"}
    assert loaded.train.labels is not None
    assert set(loaded.train.labels.tolist()) == {0, 1}
    assert {400, 700} <= set(loaded.train.attributes["weight"].tolist())


def test_no_family_is_both_trained_on_and_tested_on(tmp_path: Path) -> None:
    found = collect(font_files(REAL_FONTS), "A", 16)
    save(found, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as arrays:
        names = {part: set(arrays[f"{part}_names"].tolist()) for part in ("train", "test")}
    family = {face.name: face.family for face in found.faces}
    families = {part: {family[name] for name in known} for part, known in names.items()}
    assert families["test"]
    assert not families["test"] & families["train"]


def test_a_single_family_is_split_by_face(tmp_path: Path) -> None:
    found = collect(font_files(REAL_FONTS)[:6], "A", 16)
    alike = replace(found, faces=[replace(face, family="One") for face in found.faces])
    save(alike, tmp_path / "s.npz")
    loaded = datasets.load(str(tmp_path / "s.npz"))
    assert len(loaded.train) + len(loaded.test) == len(found.faces)


def test_the_same_fonts_give_the_same_bytes(real_set: Path, tmp_path: Path) -> None:
    save(collect(font_files(REAL_FONTS), "Ag", 20), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == real_set.read_bytes()


def test_a_face_is_found_by_its_name(real_set: Path) -> None:
    with np.load(real_set) as arrays:
        names = arrays["train_names"].tolist()
    index = index_of(real_set, "train", names[4].upper())
    assert names[index] == names[4]
    with pytest.raises(NotFoundError, match="no 'Nowhere'"):
        index_of(real_set, "train", "Nowhere")


def test_the_command_overwrites_a_set_only_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "fonts.npz"
    arguments = ["data", "fonts", "--folder", str(REAL_FONTS), "--size=16", "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["faces"] == facts["images"] > 10
    before = out.read_bytes()
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert main([*arguments, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--folder", "{empty}"], 5, "no fonts"),
        (["--folder", "{empty}/nowhere"], 3, "is not a folder"),
        (["--chars", "AA"], 2, "twice"),
        (["--chars", "A b"], 2, "ink"),
        (["--size", "3"], 2, "size"),
        (["--out", "fonts.txt"], 2, ".npz"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    given = [part.format(empty=tmp_path / "empty") for part in arguments]
    assert main(["data", "fonts", *given]) == code
    text = capsys.readouterr().err.strip()
    assert says in text
    assert len(text.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]
