"""One fault at every single point of a change: each call that changes the host, each program that is started."""
