"""Tests: one file for each room."""
