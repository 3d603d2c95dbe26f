"""The child of `pictures`: a job of JSON a line in, an answer of JSON a line out.

Run by its path, alone: it imports nothing of the service and knows none of its secrets.
"""

import base64
import io
import json
import sys
from collections.abc import Callable
from typing import Any

MEMORY = 1 << 30  # bytes of address space
CPU_SECONDS = 300  # for all the pictures of its life
FILES = 64  # open at once
MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


def limit() -> None:
    """Bound what a hostile picture can cost."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def _source(job: dict[str, Any]) -> Any:
    """What a job's picture is read from."""
    return job["path"] if "path" in job else io.BytesIO(base64.b64decode(job["data"]))


def size(job: dict[str, Any]) -> dict[str, Any]:
    """Width and height as the picture is shown."""
    from PIL import Image

    with Image.open(_source(job), formats=FORMATS) as picture:
        width, height = picture.size
        if picture.format == "PNG" and "exif" not in picture.info:
            return {"width": width, "height": height}  # to ask would decode all of it
        turned = picture.getexif().get(_ORIENTATION) in _TURNED
        if turned and picture.format != "TIFF":  # Pillow has turned a TIFF already
            width, height = height, width
    return {"width": width, "height": height}


def thumbnail(job: dict[str, Any]) -> dict[str, Any]:
    """A small copy, upright and without the picture's metadata."""
    from PIL import Image, ImageOps

    side = job["side"]
    with Image.open(_source(job), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        picture.draft("RGB", (side, side))
        small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        small.thumbnail((side, side), reducing_gap=2.0)
        ImageOps.exif_transpose(small, in_place=True)
        small.info.clear()  # comments and profiles would be saved along
    if job["kind"] == "JPEG" and small.mode == "RGBA":
        ground = Image.new("RGBA", small.size, "white")
        small = Image.alpha_composite(ground, small).convert("RGB")
    return {"data": _encode(small, job["kind"])}


def icon(job: dict[str, Any]) -> dict[str, Any]:
    """A sheet with a folded corner and the label across it."""
    from PIL import Image, ImageDraw, ImageFont

    side, label = job["side"], job["label"]
    sheet = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = side * 0.2, side * 0.1, side * 0.8, side * 0.9
    fold = side * 0.18
    draw.polygon(
        [(left, top), (right - fold, top), (right, top + fold), (right, bottom), (left, bottom)],
        fill="#f4f5f7",
        outline="#8a93a0",
        width=max(1, side // 80),
    )
    draw.polygon(
        [(right - fold, top), (right, top + fold), (right - fold, top + fold)], fill="#c3cad3"
    )
    font = ImageFont.load_default(size=side * 0.16)
    draw.text((side / 2, side * 0.6), label, fill="#4a5361", font=font, anchor="mm")
    return {"data": _encode(sheet, "PNG")}


def _encode(picture: Any, kind: str) -> str:
    out = io.BytesIO()
    picture.save(out, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return out.getvalue().hex()


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "size": size,
    "thumbnail": thumbnail,
    "icon": icon,
}


def main() -> None:
    """Serve jobs until the parent closes the pipe."""
    limit()
    for line in sys.stdin.buffer:
        job = json.loads(line)
        try:
            answer = JOBS[job["do"]](job)
        except Exception as error:  # noqa: BLE001  whatever a decoder raises costs one picture
            answer = {"error": type(error).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
