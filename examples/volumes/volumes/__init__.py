"""A volume service, after OpenStack Cinder: volumes on several backends that come and go while it runs.

    python -m volumes volumes.toml                      the service
    python -m volumes.target --store DIR                a storage target for `kind = "target"` backends

Every change of volumes.toml is applied in the running process, after `hitless reload volumes` or SIGHUP: a copy that goes on
finishes on the backends that it began with, whatever becomes of them in the file.

    settings    what volumes.toml may say
    driver      what a backend offers; directory, pool and remote are such backends
    wire        the protocol between remote and target
    target      a storage target, a process of its own
    catalog     volumes and requests; its database is SQLite or PostgreSQL
    orders      what clients ask for
    manager     carries it out; copying is the long part of it
    doors       where requests come in: a socket, or a queue of RabbitMQ (amqp)
    service     puts it together
"""

from __future__ import annotations
