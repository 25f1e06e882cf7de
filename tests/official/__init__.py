"""How fast ours and the authors' own code generate, side by side: ``nox -s speed``. Nothing of theirs is kept here."""
