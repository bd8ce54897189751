"""A profiler that autoprune finds by its entry point."""
