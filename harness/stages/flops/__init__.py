"""The stage flops: the multiply-adds of an image and the bytes that it reads, counted from the operators that really
ran.

stage      the multiply-adds and FLOPs of a trial's images
counter    counts the operators that run, by part of the network
reads      counts the bytes of weights, and of keys and values, that each step reads
operators  the cost rule of each operator, and which operators are light
by_trace   a second, independent count: fvcore on a trace
agreement  ``arbench counters``: all counts of all methods, side by side
costs      ``arbench flops``: what a preset costs, from its architecture alone
"""
