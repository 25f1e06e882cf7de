"""The stage timing: latency, throughput and memory.

A case is a method with its settings. All cases are timed in one session, in turn, round by round.

protocol     how time is measured, and the ``[timing]`` table of a sweep
stage        a session: rounds of all cases
cases        the methods and settings that are timed, and one sample of a case
pace         estimates when the machine was slower or faster than usual, and corrects the times of all cases for this
summary      medians, intervals, ratios, and the reason why times are noisy; code that only reads records can import
             this module alone
energy       joules an image, from runs of seconds
intervals    intervals for few samples with outliers, by order statistics
"""
