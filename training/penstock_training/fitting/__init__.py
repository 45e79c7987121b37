"""Fit a model step by step, so that an interrupted run goes on where it was."""
