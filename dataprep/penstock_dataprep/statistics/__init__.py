"""Measure rows, in figures that merge in any order."""
