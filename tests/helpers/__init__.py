"""What tests build on: fake methods, a small benchmark, small pictures and weights."""
