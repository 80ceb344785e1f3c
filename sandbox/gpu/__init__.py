"""A described graphics card: really accounted for, and marked as simulated wherever it shows."""
