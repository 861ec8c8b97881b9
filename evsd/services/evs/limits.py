"""How large, and how many, what EVS makes may be."""

GIB = 1024**3
MAX_SIZE_GIB = 32768
BATCH_LIMIT = 100  # volumes by one request
TAG_LIMIT = 10  # of one volume
