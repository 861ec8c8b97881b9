"""Tests of evsctl."""
