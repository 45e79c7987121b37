"""Run steps on Apache Beam: as DoFns, on a runner, and with refusals that find their way back."""
