"""A dress rehearsal: the real apply on the real kernel, in namespaces that vanish with their last process.

attempts: what to try, from the policy alone. namespaces: the way in. world: what lies outside the host and judges
what came out of it. stage: the play itself.
"""
