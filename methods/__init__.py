"""The methods under test: EAR and ActVAR, one file for each method."""
