"""Disk images that are imported: what they are, how large, whether they are whole, how to read.

`opened` gives the file, `recognised` what it is, `inspected` a source that can be copied to a
volume and knows what is wrong with it. Each of these is asked before anything is made.
"""

from __future__ import annotations

from evsd.cli.images.file import Image, opened
from evsd.cli.images.luks import refuse_own_volume
from evsd.cli.images.recognising import FORMATS, recognised
from evsd.cli.images.sources import Source, inspected

__all__ = ["FORMATS", "Image", "Source", "inspected", "opened", "recognised", "refuse_own_volume"]
