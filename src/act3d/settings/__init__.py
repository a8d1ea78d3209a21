"""Every setting of every command: type, default, bounds, meaning."""
