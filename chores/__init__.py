"""What the sessions of noxfile.py share.

environment: makes the environments and runs programs in them
torch_build: which of torch's builds is downloaded, and why
interpreters: which Pythons are installed here
"""
