"""The training loop and what it keeps: run folder, state, log, optimizer, schedules."""
