"""What features are worth: probes, and the features they read. Heavy libraries are imported by the parts."""
