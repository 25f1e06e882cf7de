"""The stage timing: latency, throughput and memory, all cases in one session, interleaved.

protocol     how time is taken, and the ``[timing]`` table of a sweep
stage        a session: rounds of all cases
pace         takes out the machine's pace, which all cases share
summary      medians, intervals, ratios and what made a row noisy; reading records needs no more than this
intervals    of few and unruly samples, by order statistics
compilation  torch.compile as an option of the protocol
"""
