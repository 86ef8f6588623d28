"""HTTP: bytes in, problem or certificate out. Adapters only: no rule about certificates lives here."""
