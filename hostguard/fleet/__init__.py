"""Many hosts: rollout decides who comes next (pure), engine has ansible do it and tells what happens."""
