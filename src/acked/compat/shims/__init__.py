"""Modules under the originals' names, for a path: see the guide of each."""
