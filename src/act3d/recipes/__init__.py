"""One file a kind of training: what it builds, one step, its validation, its last test."""
