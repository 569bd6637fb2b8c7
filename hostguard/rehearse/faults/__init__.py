"""Every fault of a provider at once, against the policy's own numbers: with the gateway, and without it."""
