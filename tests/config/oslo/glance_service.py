"""Glance's own options under Hitless, and beside it under oslo.config. Prints what happened as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from beside import Oslo
from glance.common import config
from glance_store._drivers import filesystem
from oslo_log import _options

from hitless.config.oslo import Backends, OsloOptions
from hitless.live import Runtime

LISTED: list[Any] = [
    (None, [*config.common_opts, *config.store_opts]),
    ("image_format", config.image_format_opts),
    ("paste_deploy", config.paste_deploy_opts),
    ("task", config.task_opts),
    ("wsgi", config.wsgi_opts),
    *_options.list_opts(),
]
LIVE = ["task", "backends", "image_format", "image_member_quota", "metadata_encryption_key"]
OPTIONS = OsloOptions.of(LISTED, backends=Backends(filesystem._FILESYSTEM_CONFIGS), live=LIVE)
GOOD = """\
[DEFAULT]
debug = no
enabled_backends = fast:file, slow:file
image_member_quota = 64
metadata_encryption_key = correct-horse-battery
# the group that this option had before
disk_formats = raw, qcow2
[task]
work_dir = ${node_staging_uri}tasks
[fast]
filesystem_store_datadirs = /srv/a:200
filesystem_store_datadirs = /srv/b:100
[slow]
filesystem_store_datadir = /srv/slow
filesystem_store_chunk_size = 1024
[off]
filesystem_store_datadir = /srv/off
"""
CHANGED = (
    GOOD.replace("debug = no", "debug = on")
    .replace("quota = 64", "quota = 065")
    .replace("= 1024", "= 2048")
    .replace("correct-horse-battery", "another-staple-key")
    .replace("raw, qcow2", "raw")
)
BAD = {
    "debug": ("debug = no", "debug = maybe"),
    "image_member_quota": ("quota = 64", "quota = many"),
    "task.task_executor": ("[task]", "[task]\ntask_executor = eventlet"),
    "limit_param_default": ("debug = no", "limit_param_default = 0"),
    "debg": ("debug = no", "debg = yes"),
    "task.work_dir": ("${node_staging_uri}", "${node_stagin_uri}"),
}


async def main(folder: Path) -> dict[str, Any]:
    path = folder / "glance-api.conf"
    path.write_text(GOOD)
    path.chmod(0o600)
    oslo = Oslo(path, LISTED)
    runtime = Runtime(OPTIONS.model("Glance"))
    events: list[str] = []
    runtime.subscribe(lambda event: events.append(json.dumps(event.to_json())))
    await runtime.start(OPTIONS.file(path))
    settings: Any = runtime.settings
    told: dict[str, Any] = {
        "settings": json.loads(settings.model_dump_json()),
        "reload": {
            name: (type(settings).model_fields[name].json_schema_extra or {}).get("reload")
            for name in ("debug", "http_retries", "image_member_quota", "backends")
        },
        "bad": {},
    }
    for name, (good, bad) in BAD.items():
        path.write_text(GOOD.replace(good, bad, 1))
        outcome = await runtime.reload()
        told["bad"][name] = {
            "hitless": [outcome.status, outcome.message.replace(f"{path}:", "")],
            "oslo": oslo.mutated(name) if name != "debg" else oslo.mutated(),
        }
    assert runtime.generation == 1
    path.write_text(CHANGED)
    told["changed"] = (await runtime.reload()).to_json()
    told["started"] = [json.loads(each)["fields"] for each in events if '"change.started"' in each][-1]
    # The same values, written otherwise.
    path.write_text(CHANGED.replace("debug = on", "debug = True").replace("= 065", "= 65"))
    told["rewritten"] = {"hitless": (await runtime.reload()).status, "oslo": oslo.mutated()}
    told["told"] = "".join(events)
    await runtime.stop()
    return told


print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
