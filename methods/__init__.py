"""What is under test: EAR and ActVAR, one file a method."""
