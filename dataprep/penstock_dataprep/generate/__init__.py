"""Make synthetic interaction logs with the statistics of a real one (see `events` for what they are)."""

from penstock_dataprep.generate.write import default_files, generate

__all__ = ["default_files", "generate"]
