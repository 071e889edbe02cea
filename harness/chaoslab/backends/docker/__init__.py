"""Regions as containers: the same regions as on real processes, behind walls of their own."""
