"""Trading platforms in a box, on real servers, and the faults that the inventory names."""
