"""Ceilometer's own polling manager, pipeline and publishers in one process: what is polled goes into the pipeline without a broker.

    agent_ceilometer.py FOLDER METERS RESOURCES CYCLES PUBLISHER

Its polling task, its notification endpoint, its pipeline manager and its publisher are as they are; only the message bus between
the first two is left out, in its favour.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from ceilometer import sample, service
from ceilometer.pipeline.sample import SamplePipelineManager
from ceilometer.polling import manager, plugin_base
from ceilometer.telemetry.notifications import TelemetryIpc
from stevedore.extension import Extension


class Bench(plugin_base.PollsterBase):
    default_discovery = None

    def __init__(self, conf: Any, name: str) -> None:
        super().__init__(conf)
        self._meter = name

    def get_samples(self, manager: Any, cache: Any, resources: list[str]) -> Any:  # noqa: ARG002
        for each in resources:
            yield sample.Sample(
                name=self._meter,
                type="cumulative",
                unit="B",
                volume=1.5,
                user_id=None,
                project_id=None,
                resource_id=each,
                resource_metadata={"host": "a", "flavor": "m1"},
            )


class Bus:
    """In the place of the notifier: it hands each notification to the endpoint that would receive it."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def sample(self, _: Any, event_type: str, payload: Any) -> None:
        self._endpoint.sample([{"event_type": event_type, "payload": payload}])


def peak_kb() -> int:
    """Not ru_maxrss: that of a new program begins with what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    folder, publisher = Path(sys.argv[1]), sys.argv[5]
    meters, resources, cycles = (int(each) for each in sys.argv[2:5])
    (folder / "polling.yaml").write_text(
        json.dumps(
            {
                "sources": [
                    {
                        "name": "bench",
                        "interval": 3600,
                        "meters": ["bench.*"],
                        "resources": [f"resource-{number}" for number in range(resources)],
                    }
                ]
            }
        )
    )
    (folder / "pipeline.yaml").write_text(
        json.dumps(
            {
                "sources": [{"name": "all", "meters": ["*"], "sinks": ["out"]}],
                "sinks": [{"name": "out", "publishers": [publisher]}],
            }
        )
    )
    (folder / "ceilometer.conf").write_text(
        "[DEFAULT]\ntransport_url = fake://\n"
        f"pipeline_cfg_file = {folder}/pipeline.yaml\n"
        f"[polling]\ncfg_file = {folder}/polling.yaml\nbatch_size = 500\n"
    )
    conf = service.prepare_service(argv=["bench"], config_files=[str(folder / "ceilometer.conf")])
    agent = manager.AgentManager(0, conf, ["bench"])
    agent.polling_manager = manager.PollingManager(conf)
    agent.extensions = [
        Extension(f"bench.{number}", None, None, Bench(conf, f"bench.{number}")) for number in range(meters)
    ]
    pipelines = SamplePipelineManager(conf)
    agent.notifier = Bus(TelemetryIpc(conf, pipelines.publisher()))
    (task,) = agent.setup_polling_tasks().values()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(cycles):
        task.poll_and_notify()
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "cpu_s": time.process_time() - cpu,
                "peak_kb": peak_kb(),
            }
        )
    )


main()
