"""What is measured against: programs of their own, so that each is timed from process start to finish."""
