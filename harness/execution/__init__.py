"""How a method's ``sample`` and ``decode`` are run, by the stages generate and timing alike.

modes        as they are, replayed from a captured graph, or compiled; and what a device can do
work         both functions at fixed knobs and sampling
running      the work in one of the modes, for batches of one size
graphs       the work, or a step of a loop, is captured once and replayed
cuda_graphs  records and replays on a GPU
compilation  torch.compile
"""
