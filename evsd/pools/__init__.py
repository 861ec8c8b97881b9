"""Pools: where the ciphertext of volumes is stored."""
