"""Makes plots and pages from records."""
