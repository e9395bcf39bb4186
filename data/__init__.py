"""What are the things? Records, readers, analysis, the forward index, configuration, versions."""
