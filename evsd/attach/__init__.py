"""Attachments: one nbdkit process for each, supervised."""
