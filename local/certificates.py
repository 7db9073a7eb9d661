"""A private certificate authority for stand-ins that must speak TLS."""

from pathlib import Path

import trustme

from local.service import HOST


def issue_certificate(home: Path) -> tuple[Path, Path]:
    """Give (server.pem: key and chain, ca.pem: what clients are to trust), made once per home.

    The CA's own key is not kept: nothing but this one certificate can ever be signed by it.
    """
    server, ca = home / "server.pem", home / "ca.pem"
    if not (server.exists() and ca.exists()):
        authority = trustme.CA()
        issued = authority.issue_cert(HOST, "localhost")
        authority.cert_pem.write_to_path(str(ca))
        server.touch(mode=0o600)
        issued.private_key_and_cert_chain_pem.write_to_path(str(server))
    return server, ca
