"""Where a host program runs. Today this machine; ssh, containers and images come beside it."""
