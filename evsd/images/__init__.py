"""Image files: what they are, whether they are whole, and copying them from and to volumes.

`open_image` gives the file, `served_image` what an NBD export holds, `detect_format` what it is,
`inspect` a source that can be copied to a volume and knows what is wrong with it: all is asked
before anything is made. `new_file` and `export_file` are the way back, `copy_export` copies a disk
as it is. A volume is an NBD URI here. What can't be done is an `ImageError`, or an OSError; nothing
is printed.
"""

from __future__ import annotations

from evsd.images.copy import copy_export
from evsd.images.detect import FORMATS, detect_format
from evsd.images.errors import (
    FormatAmbiguous,
    ImageError,
    ToolFailed,
    ToolMissing,
    WrongPassphrase,
)
from evsd.images.export import EXPORT_FORMATS, export_file, export_stream
from evsd.images.file import Image, ImageFile, open_image, served_image
from evsd.images.nbd import uri_of
from evsd.images.new_file import new_file
from evsd.images.sources import Source, inspect

__all__ = [
    "EXPORT_FORMATS",
    "FORMATS",
    "FormatAmbiguous",
    "Image",
    "ImageError",
    "ImageFile",
    "Source",
    "ToolFailed",
    "ToolMissing",
    "WrongPassphrase",
    "copy_export",
    "detect_format",
    "export_file",
    "export_stream",
    "inspect",
    "new_file",
    "open_image",
    "served_image",
    "uri_of",
]
