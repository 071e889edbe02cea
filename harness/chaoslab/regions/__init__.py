"""Regions as processes: each holds its own copy of memory on disk and replicates it by itself.

This package also runs inside a container with nothing but a bare Python, so it imports the
standard library and nothing else of the lab. The lab's side is in `backends/process`.
"""
