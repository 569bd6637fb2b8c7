"""A dress rehearsal: the real apply on the real kernel, in namespaces that vanish with their last process.

hostguard.attack has the attempts. namespaces: the way in. world: the networks outside the host, and the judge of each
packet that came out. stage, legs, host: the host that is played. gateway, doors: its Envoy, and the attempts at
that. provider, certificates: whom it asks, in the world; dns: what leads there. outcome: the judgement of all. faults:
providers that fail.
"""
