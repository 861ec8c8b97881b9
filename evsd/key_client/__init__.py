"""evsd's side of the key process: starting it, asking it, hearing its module."""
