"""How a method's ``sample`` and ``decode`` are run, by the stages generate and timing alike.

modes        as they are, replayed from a captured graph, or compiled; and what a device can do
running      both functions at fixed knobs and sampling, for batches of one size
graphs       a batch, or a step of a loop, is captured once and replayed
compilation  torch.compile
"""
