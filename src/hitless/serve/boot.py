"""What the supervisor and the application's interpreter must agree on before they can talk.

A file of its own, so that the supervisor knows it without importing the worker's side (the HTTP engine, its parser).
"""

from __future__ import annotations

from typing import Final

PROTOCOL: Final = 1
"""Version of the messages; a template of another hitless with another protocol is refused."""

SHUTDOWN_S: Final = 10.0
"""Longest time that the application's own shutdown may take after a worker's last request."""

BOOT: Final = """
import sys
try:
    from hitless.serve.template import main
except ImportError as error:
    import json, socket
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.send(json.dumps({"kind": "failed", "reason": "interpreter_without_hitless", "message":
        "%s cannot import hitless[serve]: %s; install it: %s -m pip install 'hitless[serve]'"
        % (sys.executable, error, sys.executable)}).encode())
    sys.exit(1)
main(int(sys.argv.pop()))
"""
"""The template's program; what it is given is not for the eyes of the application. Not `-m`, so that an interpreter without
hitless can say so in words."""
