"""The nbdkit plugin that serves one encrypted volume. It does not import evsd."""
