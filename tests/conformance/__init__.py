"""What every registered method must do, a stranger's too: with their package installed, `pytest tests/conformance`."""
