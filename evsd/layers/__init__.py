"""The layers of a volume in a pool's directory: snapshots, rollback and merging, without any key.

It knows files and headers (docs/format.md), no records: what a snapshot is called, and who may have
one, is its callers' matter. Every operation can be interrupted anywhere and done again.
"""
