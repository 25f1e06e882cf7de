"""Makes figures and pages from records."""
