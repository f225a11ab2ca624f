"""Everything that Cinder and its libraries declare for oslo.config, under Hitless. Prints what happened as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cinder  # noqa: F401 - it wants to be the first
from beside import Oslo

from hitless.config import ConfigError, diff, load
from hitless.config.oslo import Backends, OsloOptions

LIBRARIES = (
    "oslo.db",
    "oslo.log",
    "oslo.messaging",
    "oslo.concurrency",
    "oslo.policy",
    "keystonemiddleware.auth_token",
)
GOOD = """\
[DEFAULT]
my_ip = 192.0.2.1
enabled_backends = lvm-1
[database]
connection = mysql+pymysql://cinder:correct-horse@$my_ip/cinder
max_pool_size = 5
[backend_defaults]
volume_clear = none
[lvm-1]
volume_backend_name = fast
san_password = correct-horse
target_ip_address = $my_ip
[nfs-1]
volume_driver = cinder.volume.drivers.nfs.NfsDriver
"""
CHANGED = (
    GOOD.replace("192.0.2.1", "192.0.2.2")
    .replace("max_pool_size = 5", "max_pool_size = 10")
    .replace("= fast", "= faster")
    .replace("san_password = correct-horse", "san_password = battery-staple")
    .replace("= lvm-1", "= lvm-1, nfs-1")
)


def main(folder: Path) -> dict[str, Any]:
    path = folder / "cinder.conf"
    path.write_text(GOOD)
    path.chmod(0o600)
    options = OsloOptions.of_namespaces("cinder", *LIBRARIES, backends=Backends("backend_defaults"))
    model = options.model("Cinder")
    before: Any = load(model, options.file(path)).settings
    lvm = before.backends["lvm-1"]
    path.write_text(CHANGED)
    after: Any = load(model, options.file(path)).settings
    path.write_text(GOOD.replace("max_pool_size = 5", "max_pool_size = ten"))
    try:
        load(model, options.file(path))
    except ConfigError as error:
        refusal = str(error).replace(f"{path}:", "")
    database = ("database", options.sections["database"].values())
    path.write_text(GOOD)
    oslo = Oslo(path, [(None, [options.sections["DEFAULT"]["my_ip"]]), database])
    path.write_text(GOOD.replace("max_pool_size = 5", "max_pool_size = ten"))
    beside = oslo.mutated("database.max_pool_size")
    return {
        "options": sum(len(each) for each in options.sections.values()),
        "of_each_backend": len(options.of_each_backend()),
        "backend": [lvm.volume_clear, lvm.target_ip_address, lvm.volume_driver, lvm.volumes_dir],
        "differences": [str(each) for each in diff(before, after)],
        "shown": str(before),
        "bad": {"hitless": refusal, "oslo": {key: beside[key] for key in ("mutate", "read")}},
    }


print(json.dumps(main(Path(sys.argv[1]))))
