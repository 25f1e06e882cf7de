"""The instrument: how methods are run, measured and recorded. It knows no method by name.

At the top level stand the modules that methods in other packages import, and the modules on which the rest of the
harness builds:

    method      what a method is
    registry    the installed methods, by name
    sampling    how a token is drawn, and the settings for this
    noise       the uniform random numbers of each image
    setup       the setup of a trial, such as precision and weights
    inputs      the label and the noise of each image
    traces      optional reports of a method on how it made its images
    trial       one method with fixed settings, to be measured
    sweep       a file that lists many trials
    errors, files, file_kinds, hashing, numbers, progress

The packages follow. Each imports only from packages above it (tests/unit/test_architecture.py):

    plugins       what other packages add, found through entry points
    machine       facts about the machine, and about other work on it while methods are timed
    checkpoints   weights: reading, finding and fetching them
    images        reading images: the bundled data, and files of any origin
    identity      which code made a result
    execution     runs a method's work: as it is, captured in a graph, or compiled
    training      how the bundled weights are trained
    extractors    networks that compute features of images
    stages        the stages of a trial: generate, quality, flops, timing; none imports another
    records       what was measured: kept, compared, exchanged
    jobs          pieces of a trial's work, and the executors that do them
    cluster       tasks on a cluster: Slurm, or this machine
    run           a sweep, from its file to its records
    conformance   the tests that every method passes
    cli           the command ``arbench``
"""
