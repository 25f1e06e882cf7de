"""What the machine is, and what else it does while time is taken.

hardware      its name, processor, cores, memory
cores         how many cores this process may use, a container's quota included
devices       CPU and GPUs by torch's names
conditions    load, clock, governor, temperature, driver, before and after a measurement
disturbances  what other work, steal and CPU limits took from each sample
energy        joules, by the machine's own counters
memory        peak memory of the process and of its GPU
heap          freed memory stays in the process
garbage       no garbage collection where it only costs time
"""
