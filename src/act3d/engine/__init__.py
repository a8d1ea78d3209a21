"""The training loop, run folders, state, log, optimizer, schedules."""
