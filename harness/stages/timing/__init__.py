"""The stage timing: latency, throughput and memory, all cases in one session, interleaved.

protocol     how time is measured, and the ``[timing]`` table of a sweep
stage        a session: rounds of all cases
pace         corrects for the machine's pace, which all cases share
summary      medians, intervals, ratios and the reason why a row is noisy; enough for code that only reads records
intervals    intervals for few samples with outliers, by order statistics
compilation  torch.compile as an option of the protocol
"""
