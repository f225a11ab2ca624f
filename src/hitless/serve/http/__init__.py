"""The HTTP/1.1 server that runs inside every worker."""
