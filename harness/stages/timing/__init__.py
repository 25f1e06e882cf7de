"""The stage timing: latency, throughput and memory.

A case is a method with its settings. All cases are timed in one session, in turn, round by round.

protocol     how time is measured, and the ``[timing]`` table of a sweep
stage        a session: rounds of all cases
pace         corrects for the machine's pace, which all cases share
summary      medians, intervals, ratios, and the reason why times are noisy; code that only reads records need
             import no other module of this package
intervals    intervals for few samples with outliers, by order statistics
compilation  torch.compile as an option of the protocol
"""
