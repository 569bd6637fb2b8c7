"""The ways out of a host, a case each, written once: the rehearsal, the proof and docs/ways-out.md all come from it.

case: what a case is. cases: all of them, a file a layer. aim: the policy's own addresses and accounts for them.
page: the document.
"""
