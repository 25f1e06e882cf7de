"""Pages of docs/ whose commands are run as they stand."""
