"""The program that runs on a host: read, compare, write, go back.

Standard library only, Python 3.8 and later (the oldest that ansible-core 2.19 supports on a target), and
relative imports only: the same files run inside hostguard on this machine, and out of memory on another one.
"""
