"""The embedded stack: a stand-in of each cloud service, on loopback."""
