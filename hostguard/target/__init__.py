"""The ways to a host on which the host program runs: this machine, another by ssh, a container, an image."""
