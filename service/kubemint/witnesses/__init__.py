"""Those outside who see that the log only grows: witnesses that cosign it, and anchors that keep it.

`witness` asks one of them (C2SP tlog-witness); `witnessing` asks all, again and again, and lets those wait
whose certificate must be witnessed first. `anchors` are places that a checkpoint is written to; `anchoring`
writes. `watch` is what the rest of the service knows of all that; `reading` shows nobody what is not
witnessed yet.
"""
