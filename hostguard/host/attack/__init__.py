"""What an attacker on a host can send: one packet a shot, in the words of the kernel's own interfaces.

shot: what is to be sent, and how it is known again on a wire. packets: the bytes of IP, built by hand. sockets,
crafted, wire, ring: the ways to send them. doors: the gateway's, on the host itself. fire: the sending, as the account
that tries. prove: shots on a live host, and what left it.
"""
