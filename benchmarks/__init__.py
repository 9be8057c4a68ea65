"""Claims of speed and quality, measured: one script and one dated table for each."""
