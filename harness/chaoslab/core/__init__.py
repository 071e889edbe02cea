"""What everything stands on: errors, JSON, numbers from seeds, the clock, packaged files."""
