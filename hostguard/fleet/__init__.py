"""Many hosts: rollout decides which come next (pure), engine has ansible do it and tells what happens."""
