"""Files larger than memory, scored by Ray Data into parts."""
