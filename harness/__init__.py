"""The instrument: protocol, sweeps, stages and stores. It knows no method by name."""
