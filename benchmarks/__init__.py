"""What is measured, and printed as ratios within one run: `make bench`."""
