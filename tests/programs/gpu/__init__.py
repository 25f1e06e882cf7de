"""``nox -s gpu``: does arbench keep on this GPU what it promises of one? ``python -m tests.programs.gpu --help``

It measures by arbench's own stages, in minutes, with the torch that is installed, and ends with a table: what is
promised, the bound, what was measured, and whether the promise is held. The program makes no figure that the stages do
not make.

lines     a promise, its bound and its verdict; the table
parts     the parts of the program: what each measures, and its share of the time
runs      runs the parts one after the other, each in a process of its own
part      the process of a part
settings  how much is measured, on a GPU and in a rehearsal on a CPU
known     makes methods known to Python where arbench is not installed
graphs    the part ``graphs``: a graph is captured, dropped and captured again
speed     the part ``speed``: captured latency and throughput, and the share of the floor
official  the part ``official``: the authors' code beside ours
sparse    the part ``sparse``: do ActVAR's saved FLOPs save time?
same      the part ``same``: the same images, however a trial is cut
worker    a process of the part ``same``, which computes some of the shards
agree     the parts ``cpu`` and ``inception``: the CPU's images and features against the GPU's
draws     the part ``draws``: a large draw of tokens
compiled  the part ``compiled``: the step of a loop by torch.compile
"""
