"""Did it help? Measures, runs and tables."""
