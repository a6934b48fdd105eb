"""Transforms between pictures, and their robust estimation from correspondences."""
