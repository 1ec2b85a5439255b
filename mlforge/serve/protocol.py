"""HTTP, as uvicorn reads it, with our errors for what is no HTTP."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlforge.serve.refusals import Refused


class Protocol(HttpToolsProtocol):
    """One connection."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, and hang up: where the next request begins is not known."""
        body = Refused(400, "bad_request", "this is not HTTP", "is https meant, or is a header malformed?").body()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Who asks for another protocol is answered in this one, and that is nothing to warn of."""
