"""Which picture formats are read, and what else a file may be. Knows nothing about pixels."""

from __future__ import annotations

from zsclip.errors import PictureError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA")
# fmt: off
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".ico", ".tga",
    ".heic", ".heif", ".hif",
))
# fmt: on
NEEDS_HEIF = "HEIC needs pip install 'zsclip[heif]'"

_HEAD_BYTES = 1024
_READ = (
    # (offset, magic bytes, name) of formats that are read, where the magic is long enough
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBPVP8", "WebP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
)
_PICTURES = (
    # (offset, magic bytes, name) of picture formats that are not read
    (0, b"8BPS", "PSD"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"icns", "ICNS"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"gimp xcf", "XCF"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"P7\n", "PAM"),
    (0, b"PF\n", "PFM"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (128, b"DICM", "DICOM"),
    (0, b"FUJIFILMCCD-RAW", "camera raw (RAF)"),
    (0, b"IIRO", "camera raw (ORF)"),
    (0, b"IIRS", "camera raw (ORF)"),
    (0, b"MMOR", "camera raw (ORF)"),
    (0, b"IIU\0", "camera raw (RW2)"),
    (0, b"FOVb", "camera raw (X3F)"),
    (4, b"ftypcrx ", "camera raw (CR3)"),
)
_OTHERS = (
    # (offset, magic bytes, what it is) of what is no picture
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a rar archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"MZ", "a Windows program"),
    (0, b"\x7fELF", "a program"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (4, b"ftyp", "a video"),
    (8, b"AVI LIST", "a video"),
)
_HEVC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AV1 = frozenset((b"avif", b"avis"))


def is_heif(content: bytes) -> bool:
    """Whether this is a HEIF picture that is not AVIF, as the brands in its first box say."""
    if content[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(content[:4], "big"), _HEAD_BYTES)
    brands = {content[place : place + 4] for place in (8, *range(16, length, 4))}
    major = content[8:12]
    return major in _HEVC or (major in (b"mif1", b"msf1") and not brands & _AV1)


def unidentified(content: bytes) -> PictureError:
    """Why this cannot be opened as any of FORMATS: what it is, where its first bytes tell."""
    head = content[:_HEAD_BYTES]
    for offset, magic, name in _READ:
        if head[offset:].startswith(magic):
            return PictureError("corrupt", f"the {name} file is damaged")
    for offset, magic, name in _PICTURES:
        if head[offset:].startswith(magic):
            return unsupported(name)
    for offset, magic, name in _OTHERS:
        if head[offset:].startswith(magic):
            return _not_a_picture(name)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return _not_a_picture("HTML")
    if text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text:
        return unsupported("SVG")
    if _is_text(head):
        return _not_a_picture("text")
    return PictureError("unrecognized", "not a supported image")


def unsupported(name: str) -> PictureError:
    """A picture of another format than FORMATS."""
    return PictureError("unsupported_format", f"{name} is not supported")


def _not_a_picture(name: str) -> PictureError:
    return PictureError("unrecognized", f"not a supported image (looks like {name})")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < _HEAD_BYTES - 4:  # not just a character that was cut
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\n\r\f" for character in text)
