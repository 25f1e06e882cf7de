"""Claims of papers, checked by a program against a store, against architectures, and against each other."""
