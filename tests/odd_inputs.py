"""Images and texts of every odd kind, for the tests that compare us with a reference."""

import io

import numpy as np
from PIL import Image

from clipsieve.images import DecodeLimits, decode, fit_to_recipe
from clipsieve.types import DecodedImage, ImageRef, Preprocessing

_BASES = [
    *("", " ", "a  b   c", "ÀÉÎ e\u0301", "日本語", "שלום עולם", "😀👩‍👩‍👧", "a\tb\nc\x00d\x1f", "&lt;b&gt; &amp;"),
    *("x" * 900, "MiXeD CaSe", "don't we'll", "3.14159 1,000", "<|endoftext|> a", "\u200bzero\ufeffwidth"),
    *(
        "ﬁ ½ Ⅷ",
        "İstanbul ß",
        "a photo of a dog",
        "مرحبا بالعالم",
        "हिन्दी ภาษาไทย",
        "a\u0308\u0323\u0301" * 9,
        "\u202eabc\u202c",
    ),
    *("#hash @at $5 50% a_b c-d e/f", "word " * 400, "🏳️‍🌈🇩🇪👍🏽", "\x07\x1b[31m", "https://example.org/?q=a&b=c#d"),
]
_ENDS = ("", " 7", " 你好", "!?", " É", " &#39;", "\n", "_'s")
TEXTS = [f"{base}{end}" for base in _BASES for end in _ENDS]


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def odd_images() -> dict[str, bytes]:
    """Return encoded images of every mode that photographs on the web come in, and of odd shapes."""
    rng = np.random.default_rng(5)

    def noise(width: int, height: int) -> Image.Image:
        """Blocks of colour, so that they are not all the same grey once they are resized."""
        small = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
        return Image.fromarray(small.repeat(16, 0).repeat(16, 1)[:height, :width])

    def palette() -> Image.Image:
        return noise(333, 250).convert("P", palette=Image.Palette.ADAPTIVE)

    def grey() -> Image.Image:
        return noise(320, 200).convert("L")

    rgb = noise(250, 333)
    # Pillow cuts 16 bits at 255, so most of a brighter image would be white.
    deep = Image.fromarray(rng.integers(0, 400, (9, 7), dtype=np.uint16)).resize((70, 90), Image.Resampling.NEAREST)
    return {
        "one pixel": encoded(Image.new("RGB", (1, 1), (200, 30, 90)), "PNG"),
        "2 x 3": encoded(Image.fromarray(rng.integers(0, 256, (3, 2, 3), dtype=np.uint8)), "PNG"),
        "wide": encoded(noise(640, 161), "JPEG"),
        "tall": encoded(noise(97, 480), "PNG"),
        "grey": encoded(grey(), "PNG"),
        "grey JPEG": encoded(grey(), "JPEG"),
        "one bit": encoded(grey().convert("1"), "PNG"),
        "grey with alpha": encoded(Image.merge("LA", [grey(), grey()]), "PNG"),
        "RGBA": encoded(Image.merge("RGBA", [grey(), grey(), grey(), grey()]), "PNG"),
        "palette": encoded(palette(), "PNG"),
        "palette with transparency": encoded(palette(), "PNG", transparency=3),
        "GIF with transparency": encoded(palette(), "GIF", transparency=3),
        "RGB with a transparent colour": encoded(rgb, "PNG", transparency=rgb.getpixel((0, 0))),
        "CMYK": encoded(Image.merge("CMYK", [grey(), grey(), grey(), grey()]), "JPEG"),
        "16 bits": encoded(deep, "PNG"),
        "WebP": encoded(noise(222, 333), "WEBP"),
        "turned by EXIF": encoded(noise(300, 200), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"),
    }  # fmt: skip


def our_pixels(content: bytes, recipe: Preprocessing) -> np.ndarray:
    """Return one image as our pipeline hands it to an encoder."""
    image = decode(ImageRef("x", "x", None, None, content), DecodeLimits())
    assert isinstance(image, DecodedImage), image
    return fit_to_recipe(image.pixels, recipe)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    return (one * other).sum(axis=1)


def closest(rows: np.ndarray) -> float:
    """Return the largest cosine between any two different rows."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float((unit @ unit.T - 2 * np.eye(len(unit))).max())


def typical(rows: np.ndarray) -> float:
    """Return the median cosine between two different rows."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float(np.median((unit @ unit.T)[~np.eye(len(unit), dtype=bool)]))
