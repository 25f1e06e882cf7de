"""The instrument: how methods are run, measured and recorded. It knows no method by name.

On top are the modules that a method from outside imports, and what everything else stands on:

    method, registry     what a method is; the installed ones, by name
    sampling, noise      how a token is drawn: settings, and the uniforms of each image
    setup, inputs        precision, labels and weights of a trial; the labels and noise of its images
    traces               what a method may tell of how its images came about
    trial, sweep         one point to be measured; a file that asks for many
    errors, files, file_kinds, hashing, numbers, progress

The packages, each of which imports only from those above it (tests/unit/test_architecture.py):

    machine       what the machine is, and what else it does while time is taken
    checkpoints   weights: read, found, fetched
    images        images that are read: the bundled data, and everybody's files
    identity      which code made a result
    training      how the bundled weights come about
    extractors    networks that look at images
    stages        generate, quality, flops, timing: what a trial goes through; none imports another
    records       what was measured: kept, compared, exchanged
    jobs          a piece of a trial's work, and who does it
    cluster       the executor for Slurm
    run           a sweep, from its file to its records
    conformance   the tests that every method passes
    cli           the command ``arbench``
"""
