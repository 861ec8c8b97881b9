"""How large, and how many, what IMS makes may be."""

GIB = 1024**3
MAX_DISK_GIB = 32768  # as a volume
UPLOAD_LIMIT = 8 << 40  # bytes of a file whose length nobody says before
TAG_LIMIT = 128  # of one image, as Glance has it
PROPERTY_LIMIT = 128
PAGE_LIMIT = 1000  # images in one answer
