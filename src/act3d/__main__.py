"""`python -m act3d`."""

from act3d.cli import run

run()
