"""What exports must show: the same answers, budgets of bytes, latency, instructions."""
