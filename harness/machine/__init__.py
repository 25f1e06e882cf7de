"""What the machine is, and what else it does during timing.

hardware      name, processor, cores and memory of the machine
cores         how many cores this process may use; this includes the limit that a container's quota sets
devices       CPU and GPUs by torch's names
arithmetic    float32 with or without TF32
children      what child processes inherit, and how they are found
conditions    load, clock, frequency governor, temperature, GPU driver and state of the GPU, before and after a
              measurement
disturbances  the time that each sample lost to other work, to other virtual machines (steal) and to CPU limits
gpu           the state of a GPU, by NVML: clocks, temperature, power, throttling, other processes
energy        joules, from the counters of processors and GPUs
rates         how fast a device reads memory and multiplies matrices
system_files  reads the files in which Linux reports its state
memory        peak memory of the process and of its GPU
heap          keeps freed memory in the process
garbage       switches garbage collection off where it only costs time
"""
