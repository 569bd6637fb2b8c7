"""The commands, one file each: parse, call, render. What they need is imported when they run, since start-up is
felt at every call."""
