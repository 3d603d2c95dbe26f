"""The results as a picture: bars of time, a card that reads on light and dark pages."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bench.results import Line, Report, Result, shown_time

_SCALE = 2  # pixels for each of the measures below
_WIDTH, _MARGIN, _NAMES, _VALUES = 900, 28, 196, 150
_BAR, _STEP, _TITLE, _GAP, _HEADER = 15, 21, 26, 16, 78
_PAPER, _EDGE, _INK, _GREY = "#ffffff", "#d0d7de", "#1f2328", "#59636e"
_OURS, _ALSO_OURS, _THEIRS, _TRACK = "#0969da", "#80b4ed", "#aeb8c4", "#f3f5f7"
_FONTS = Path("/usr/share/fonts/truetype/dejavu")


def _font(size: int, bold: bool = False) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    """DejaVu where it is installed, else Pillow's own."""
    file = _FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    if file.exists():
        return ImageFont.truetype(str(file), size * _SCALE)
    return ImageFont.load_default(size * _SCALE)


class _Card:
    """A drawing in measures that `_SCALE` makes pixels of."""

    def __init__(self, height: int) -> None:
        size = (_WIDTH * _SCALE, height * _SCALE)
        self.image = Image.new("RGBA", size)
        self._draw = ImageDraw.Draw(self.image)
        self.box(0, 0, _WIDTH - 1, height - 1, _PAPER, 10, _EDGE)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: str,
        radius: int = 3,
        edge: str | None = None,
    ) -> None:
        place = [each * _SCALE for each in (x, y, x + width, y + height)]
        self._draw.rounded_rectangle(place, radius * _SCALE, colour, edge, _SCALE)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int = 12,
        colour: str = _INK,
        bold: bool = False,
        right: bool = False,
    ) -> None:
        """Words whose middle is at height `y`; they begin at `x`, or end there."""
        place = (x * _SCALE, y * _SCALE)
        self._draw.text(place, words, colour, _font(size, bold), "rm" if right else "lm")


def draw(report: Report, path: Path) -> None:
    """Write the chart as a PNG."""
    height = _HEADER + sum(map(_height, report.results)) + 34
    card = _Card(height)
    card.text(_MARGIN, 30, "minus and others at the same work", 17, bold=True)
    card.text(
        _MARGIN,
        54,
        "Wall time of the whole command, median (line: least to most). 2x: twice minus's.",
        12,
        _GREY,
    )
    y = _HEADER
    for result in report.results:
        _draw_row(card, y, result)
        y += _height(result)
    rounds = f"{report.rounds} interleaved rounds" if report.rounds > 1 else "one round"
    about = f"{report.date} · {report.machine} · {rounds}"
    card.text(_MARGIN, height - 22, about, 10, _GREY)
    card.image.save(path, optimize=True)


def _height(result: Result) -> int:
    return _TITLE + _STEP * len(result.lines) + _GAP


def _draw_row(card: _Card, y: int, result: Result) -> None:
    card.text(_MARGIN, y + _TITLE / 2 - 3, result.title, 12, bold=True)
    space = _WIDTH - 2 * _MARGIN - _NAMES - _VALUES
    longest = max(time for line in result.lines for time in line.times)
    left = _MARGIN + _NAMES
    for line, middle in zip(result.lines, _middles(y, result), strict=True):
        ours = line is result.lines[0]
        ink = _OURS if ours else _INK
        card.text(left - 10, middle, line.name, 11, ink, bold=ours, right=True)
        card.box(left, middle - _BAR / 2, space, _BAR, _TRACK)
        length = max(3.0, space * line.median / longest)
        others = _ALSO_OURS if line.name.startswith("minus") else _THEIRS
        card.box(left, middle - _BAR / 2, length, _BAR, _OURS if ours else others)
        low, high = (left + space * edge(line.times) / longest for edge in (min, max))
        card.box(low, middle - 0.5, high - low, 1, _INK, 0)
        card.text(left + space + 10, middle, _value(result, line), 11, ink, bold=ours)


def _middles(y: int, result: Result) -> Iterator[float]:
    for number in range(len(result.lines)):
        yield y + _TITLE + _STEP * (number + 0.5)


def _value(result: Result, line: Line) -> str:
    """The time, and how many times minus's it is."""
    if line is result.lines[0]:
        return shown_time(line)
    return f"{shown_time(line)}, {1 / result.ratio(line):.2g}x"
