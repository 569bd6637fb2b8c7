"""Breaks of what a host is."""

from __future__ import annotations

from tests.breaks.model import Break, over

LIBRARY = "$(ls /usr/lib/*/libcrypto.so.3)"
MAPS = (
    "cp {0} /opt/{1}; LD_PRELOAD=/opt/{1} sleep 1000 > /dev/null 2>&1 & echo $! > /run/break; "
    "until grep -q /opt/{1} /proc/$!/maps; do :; done; "
)
ENDS = "kill $(cat /run/break)"

BREAKS = (
    Break("shadowed: one CPU without the AES instructions",
          *over("/proc/cpuinfo", "sed '0,/ aes/s/ aes//' /proc/cpuinfo"), "platform.aes"),
    Break("shadowed: one CPU", *over("/sys/devices/system/cpu/online", "echo 0"), "platform.cpus"),
    Break("shadowed: an old program before the distribution's",
          "printf '#!/bin/sh\\necho OpenSSL 1.0.2u\\n' > /usr/local/bin/openssl; chmod 755 /usr/local/bin/openssl",
          "rm /usr/local/bin/openssl", "platform.openssl"),
    Break("changed: an old library before the distribution's",
          f"sed 's/OpenSSL 3\\.\\([0-9]\\)\\./OpenSSL 1.0./g' {LIBRARY} > /usr/local/lib/libcrypto.so.3; ldconfig",
          "rm /usr/local/lib/libcrypto.so.3; ldconfig", "platform.openssl"),
    Break("deleted: a library that a process runs on with",
          MAPS.format(LIBRARY, "libcrypto.so.3") + "rm /opt/libcrypto.so.3", ENDS, "platform.openssl-running"),
    Break("changed: another half of OpenSSL, replaced as a package does it",
          MAPS.format("$(ls /usr/lib/*/libssl.so.3)", "libssl.so.3")
          + "cp /opt/libssl.so.3 /opt/new; mv /opt/new /opt/libssl.so.3",
          f"{ENDS}; rm /opt/libssl.so.3", "platform.openssl-running"),
)  # fmt: skip
