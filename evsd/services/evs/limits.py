"""How large what EVS makes may be."""

GIB = 1024**3
MAX_SIZE_GIB = 32768
